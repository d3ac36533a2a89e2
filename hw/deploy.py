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
    """What a deployment did: files and bytes sent, the slot now in use, its version and digest."""

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


STATE_FILES = ("/app.json", "/app.json.part")  # FAT removes the old file before it renames


def state_of(board: dict[str, Any]) -> dict[str, Any]:
    """What runs, of `Link.inspect(read=STATE_FILES)`; {} when nothing is deployed."""
    for name in STATE_FILES:
        try:
            state = json.loads(board["read"].get(name, "{}"))
        except ValueError:
            continue
        if isinstance(state, dict) and state.get("active") in ("a", "b"):
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


def deploy(link: Link, app: Path = APP) -> Deployed:
    """Installs the application of this checkout; a second run sends nothing."""
    board = link.inspect("/a", "/b", files=("/main.py", "/boot.py", *(f"/{m}.mpy" for m in ROOT_MODULES)), read=STATE_FILES)  # fmt: skip
    arch = arch_of(board)
    files, state, version = build(arch, app), state_of(board), version_of(app)
    firmware = digest(files)
    sent = size = 0
    active = state.get("active", "b")  # an empty board gets /a
    wanted = {f"/{active}/{name}": hashlib.sha256(data).hexdigest() for name, data in files.items()}
    present = {path: h for path, h in board["files"].items() if path.startswith(f"/{active}/")}
    settled = bool(state) and present == wanted and not state.get("trial")
    slot = active if settled else ("a" if active == "b" else "b")
    if not settled:
        sent, size = fill(link, board, slot, active, files)
    roots = {
        path: data for path, data in root_files(arch).items()
        if board["files"].get(path) != hashlib.sha256(data).hexdigest()
    }  # fmt: skip
    if roots or not settled:
        link.put({f"/stage{path}": data for path, data in roots.items()}, "copying the launcher")
        new = {"active": slot, "version": version, "counter": state.get("counter", 0)}
        link.commit(
            "switching to the new version",
            {f"/stage{path}": hashlib.sha256(data).hexdigest() for path, data in roots.items()},
            moves=[(f"/stage{path}", path) for path in roots],
            write={"/app.json": json.dumps(new)},
        )
    return Deployed(sent + len(roots), size + sum(map(len, roots.values())), slot, version, firmware, arch)
