"""Run, count per address, join with the disassembly (see the package docstring)."""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

PLUGIN = Path(__file__).resolve().parent / "plugin.c"
Counts = dict[str, dict[str, dict[str, int]]]  # section -> function -> class -> instructions

_LINE = re.compile(r"^\s*([0-9a-f]+):\t(?:[0-9a-f]+\s)+\s*\t?(\S+)\s*(.*)$")
_ARM = (
    (re.compile(r"(ldm|pop|vpop|vldm)"), "load_many"),
    (re.compile(r"(stm|push|vpush|vstm)"), "store_many"),
    (re.compile(r"ldrd"), "load_many"),
    (re.compile(r"strd"), "store_many"),
    (re.compile(r"v?ldr"), "load"),
    (re.compile(r"v?str"), "store"),
    (re.compile(r"[us]div"), "divide"),
    (re.compile(r"([us]m[ul]*l|[us]mull|[us]mlal|umaal)"), "multiply_long"),
    (re.compile(r"(mul|mla|mls|smul|smla|smmul|smmla)"), "multiply"),
    (re.compile(r"(bl?x?|b(eq|ne|cs|hs|cc|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)|cbn?z|tb[bh])(\.[nw])?$"), "branch"),
)  # fmt: skip
_RISCV = (
    (re.compile(r"(c\.)?(lw|lh|lhu|lb|lbu|lwsp)$"), "load"),
    (re.compile(r"(c\.)?(sw|sh|sb|swsp)$"), "store"),
    (re.compile(r"mulh"), "multiply_long"),
    (re.compile(r"mul$"), "multiply"),
    (re.compile(r"(div|rem)"), "divide"),
    (re.compile(r"(b(eq|ne|lt|ge|gt|le)\w*|j|jal|jalr|jr|ret|call|tail)$"), "branch"),
)


class CountError(RuntimeError):
    """The program could not be counted; one line that names what to fix."""


def classify(mnemonic: str, operands: str, riscv: bool) -> tuple[str, int]:
    """(class, registers moved) of an instruction; whatever has no class of its own is `alu`."""
    for pattern, name in _RISCV if riscv else _ARM:
        if pattern.match(mnemonic):
            return name, _registers(operands, mnemonic) if name.endswith("_many") else 1
    return "alu", 1


def _registers(operands: str, mnemonic: str) -> int:
    if mnemonic.startswith(("ldrd", "strd")):
        return 2
    inside = re.search(r"\{(.*)\}", operands)
    return sum(_span(part) for part in inside[1].split(",")) if inside else 1


def _span(part: str) -> int:
    ends = [int(n) for n in re.findall(r"[rsd](\d+)", part)]
    return ends[1] - ends[0] + 1 if len(ends) == 2 else 1


def _run(command: list[str], limit: float = 300) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, stdin=subprocess.DEVNULL, check=True
        )
    except FileNotFoundError:
        raise CountError(f"{command[0]} is not installed: run `make dev`") from None
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise CountError(f"{command[0]} failed: {error}") from None
    return done.stdout


def count(elf: Path, prefix: str, qemu: str) -> Counts:
    """Every section between the program's mark_* functions, by function and class.

    `load_next`: a single load straight after another load or store, which some cores overlap. `load_words` and
    `store_words`: registers moved by the `_many`. `taken`: branches (of any class) that left the straight line.
    """
    riscv = prefix.startswith("riscv")
    code: dict[int, tuple[str, str, int]] = {}  # address -> (function, class, registers)
    function, before = "", ""
    for line in _run([f"{prefix}objdump", "-d", str(elf)]).splitlines():
        if line.endswith(">:"):
            function, before = line.split("<")[1][:-2], ""
            continue
        found = _LINE.match(line)
        if found:
            kind, moved = classify(found[2], found[3], riscv)
            shown = "load_next" if kind == "load" and before.startswith(("load", "store")) else kind
            code[int(found[1], 16)] = (function, shown, moved)
            before = kind
    marks = [f"{at:x} {f[5:]}" for at, f in _starts(code) if f.startswith("mark_")]
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        (where / "marks").write_text("\n".join(marks) + "\n")
        _run(
            ["gcc", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", str(PLUGIN), "-o", str(where / "p.so")]
        )
        load = ["-plugin", f"{where}/p.so,marks={where}/marks,out={where}/out"]
        command = shlex.split(qemu)
        system = command[-1] == "-kernel"
        _run([*command, str(elf), *load] if system else [*command, *load, str(elf)])
        return _join((where / "out").read_text(), code)


def _starts(code: dict[int, tuple[str, str, int]]) -> list[tuple[int, str]]:
    seen: dict[str, int] = {}
    for at, (function, _, _) in code.items():
        seen.setdefault(function, at)
    return [(at, function) for function, at in seen.items()]


def _join(text: str, code: dict[int, tuple[str, str, int]]) -> Counts:
    out: Counts = {}
    current: dict[str, dict[str, int]] = {}
    for line in text.splitlines():
        parts = line.split()
        if parts[0] == "section":
            current = (
                out.setdefault(parts[1], {}) if parts[1] not in out else {}
            )  # the first run of a section
            continue
        function, kind, moved = code.get(int(parts[0], 16), ("other", "alu", 1))
        if function.startswith("mark_"):
            continue
        row: Counter[str] = Counter(current.get(function, {}))
        row["instructions"] += int(parts[1])
        row[kind] += int(parts[1])
        if kind.endswith("_many"):
            row[kind.replace("many", "words")] += moved * int(parts[1])
        row["taken"] += int(parts[2])
        current[function] = dict(row)
    return out
