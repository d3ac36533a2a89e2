"""Build, run under QEMU, count (see the package docstring).

Instructions are counted per function by a TCG plugin between calls of empty mark_* functions of the program, so the
counts repeat exactly from run to run. The stack is painted before a mode and read after it. Nothing here is timing.
"""

from __future__ import annotations

import functools
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from blindsight.hw.qemu.targets import TARGETS, Target

HERE = Path(__file__).resolve().parent
CORE = HERE.parents[1] / "device_fw" / "rlwe"
FREESTANDING = CORE / "freestanding"
PIXELS = 1024
MODES = {"rlwe": "rlwe", "rlwe-sk": "sk", "aes": "aes"}
STAGES = {  # stages of each mode and how often a polynomial runs them
    "rlwe": {
        "ternary": 1,
        "ntt": 1,
        "uniform": 1,
        "public_key": 1,
        "intt": 2,
        "error": 2,
        "pack_c1": 1,
        "pack_c0": 1,
    },
    "rlwe-sk": {"uniform": 1, "intt": 1, "error": 1, "pack_sk": 1},
    "aes": {},
}
BYTES_OUT = {"rlwe": 3840, "rlwe-sk": 1440, "aes": 1024}
BUFFERS = {  # caller's RAM: scratch, kept secret, output
    "rlwe": 8192 + 3840,
    "rlwe-sk": 4096 + 4096 + 1440,
    "aes": 1024,
}
_OWN = {"main", "modes", "stages"}  # of the program, not of the core


Runs = dict[str, list[dict[str, int]]]


class MeasureError(RuntimeError):
    """A target could not be measured; the message names what to install or fix."""


def _run(command: list[str], cwd: Path, limit: float = 300.0) -> str:
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=limit, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise MeasureError(f"{command[0]} is not installed: run `make dev`") from None
    except subprocess.TimeoutExpired:
        raise MeasureError(f"{command[0]} did not end within {limit:.0f} s") from None
    if done.returncode:
        detail = (done.stderr or done.stdout).strip().splitlines()
        raise MeasureError(f"{command[0]} failed: {detail[-1] if detail else f'status {done.returncode}'}")
    return done.stdout + done.stderr


def _sources() -> list[Path]:
    found = sorted((CORE / "src").glob("*.c"))
    if not found:
        raise MeasureError(f"no sources in {CORE}: measuring needs a checkout of the repository")
    return found


def _build(target: Target, where: Path) -> Path:
    board = HERE / "board"
    elf = where / f"{target.name}.elf"
    command = [f"{target.prefix}gcc", *shlex.split(target.flags), *shlex.split(target.build_flags)]
    for folder in (CORE / "include", CORE / "src", CORE / "test", board):
        command += ["-I", str(folder)]
    if target.system:
        command += ["-isystem", str(FREESTANDING), str(FREESTANDING / "mem.c")]
    command += [str(p) for p in _sources()]
    command += [
        str(CORE / "test" / "kat.c"),
        str(board / "bench.c"),
        *(str(board / f) for f in target.platform),
    ]
    _run([*command, *shlex.split(target.link), "-o", str(elf)], board)
    return elf


def _code_bytes(target: Target, where: Path) -> tuple[int, int]:
    """(code and tables, static RAM) of the core alone, from its object files."""
    text = static = 0
    for source in _sources():
        out = where / (source.stem + ".o")
        command = [
            f"{target.prefix}gcc",
            *shlex.split(target.flags),
            "-std=gnu99",
            "-c",
            str(source),
            "-o",
            str(out),
        ]
        command += ["-ffreestanding", "-I", str(CORE / "include")]
        if target.system:
            command += ["-isystem", str(FREESTANDING)]
        _run(command, where)
        row = _run([f"{target.prefix}size", str(out)], where).splitlines()[1].split()
        text, static = text + int(row[0]), static + int(row[1]) + int(row[2])
    return text, static


def _symbols(target: Target, elf: Path, where: Path) -> Path:
    """Address, size and name of every function, as the plugin reads them."""
    rows = (line.split() for line in _run([f"{target.prefix}nm", "-S", str(elf)], where).splitlines())
    path = where / "symbols"
    path.write_text("".join(f"{r[0]} {r[1]} {r[3]}\n" for r in rows if len(r) == 4 and r[2] in "tT"))
    return path


def _emulate(target: Target, elf: Path, where: Path) -> tuple[dict[str, int], Runs]:
    """(numbers the program printed, section -> its runs: function -> instructions)."""
    plugin, counts = where / "count.so", where / "counts"
    build = ["gcc", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", str(HERE / "plugin" / "count.c")]
    _run([*build, "-o", str(plugin)], where)
    load = ["-plugin", f"{plugin},map={_symbols(target, elf, where)},out={counts}"]
    qemu = shlex.split(target.qemu)
    output = _run([*qemu, str(elf), *load] if target.system else [*qemu, *load, str(elf)], where)
    printed = {
        k: int(v, 16) for k, v in (line.split() for line in output.splitlines() if len(line.split()) == 2)
    }
    if printed.get("kat") != 0:
        raise MeasureError(f"{target.name}: known answer {printed.get('kat')} differs")
    runs: Runs = {}
    current: dict[str, int] = {}
    for line in counts.read_text().splitlines():
        name, value = line.split()
        if name == "section":
            current = {}
            runs.setdefault(value, []).append(current)
        elif name not in _OWN and not name.startswith("mark_"):
            current[name] = int(value)
    return printed, runs


def _check_constant(name: str, runs: Runs) -> int:
    """How many seeds, keys and pictures gave the same counts in every function; raises where one differs.

    `rlwe-sk` expands a fresh public `a` in each run, whose rejections show in three functions; `rlwe` holds those to the
    same count under one `a`.
    """
    public = {"vary_sk": {"bs_mul_uniform", "bs_chacha_words", "block", "four_blocks"}}
    for section in ("vary_rlwe", "vary_sk", "vary_aes"):
        skip = public.get(section, set())
        seen = [{f: n for f, n in run.items() if f not in skip} for run in runs[section]]
        for other in seen[1:]:
            if other != seen[0]:
                where = sorted(f for f in seen[0] if seen[0][f] != other.get(f))
                raise MeasureError(
                    f"{name}: instructions of {', '.join(where)} depend on secrets ({section})"
                )
    return len(runs["vary_rlwe"])


def measure(name: str) -> dict[str, Any]:
    """The measurement object of DESIGN section 9 for one target of `TARGETS`, plus `functions` of each mode.

    `instructions`: one polynomial of 1,024 pixels (`rlwe-sk`: with the secret expanded beforehand, whose one-time cost
    is `setup_instructions`). `stages`: instructions of each stage, times its number of runs. `ram_bytes`: static data,
    the caller's buffers with the output, and the stack. `code_bytes`: code and tables of all three modes.
    `same_counts_for`: so many different seeds, keys and pictures took the same instructions, function by function.
    """
    target = TARGETS.get(name)
    if target is None:
        raise MeasureError(f"target {name!r}: one of {', '.join(TARGETS)}")
    tool = f"{target.prefix}gcc"
    if shutil.which(tool) is None:
        raise MeasureError(f"{tool} is not installed: run `make dev`")
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        code, static = _code_bytes(target, where)
        printed, runs = _emulate(target, _build(target, where), where)
    same = _check_constant(name, runs)
    sections = {section: found[0] for section, found in runs.items()}
    total = {section: sum(functions.values()) for section, functions in sections.items()}
    modes: dict[str, Any] = {}
    for mode, section in MODES.items():
        stack = printed[f"stack_{section}"]
        modes[mode] = {
            "pixels": PIXELS,
            "instructions": total[section],
            "stages": {stage: total[stage] * runs for stage, runs in STAGES[mode].items()},
            "functions": dict(sorted(sections[section].items(), key=lambda item: -item[1])),
            "stack_bytes": stack,
            "ram_bytes": static + BUFFERS[mode] + stack,
            "bytes_out": BYTES_OUT[mode],
        }
    modes["rlwe-sk"]["setup_instructions"] = total["sk_expand"]
    return {
        "target": name,
        "stands_for": target.stands_for,
        "modes": modes,
        "code_bytes": code,
        "static_bytes": static,
        "same_counts_for": same,
        "compiler": _version(tool),
        "flags": target.flags,
        "emulator": _version(shlex.split(target.qemu)[0]),
    }


@functools.cache
def _version(tool: str) -> str:
    return _run([tool, "--version"], HERE).splitlines()[0]
