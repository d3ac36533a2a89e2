"""The ARMv8 kernels, compiled for AArch64 and run under qemu, give the bytes of the portable ones.

(This machine's own instruction sets are held against known answers in test_aes.py, test_ot_softspoken.py and test_ot_ferret.py.)
"""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ["aes", "cpu", "chacha", "ot_portable", "ot_armv8"]


def test_armv8_kernels_equal_the_portable_ones(tmp_path: Path) -> None:
    for tool in ("aarch64-linux-gnu-g++", "qemu-aarch64"):
        assert shutil.which(tool), f"{tool} is missing: make dev installs it"
    files = [ROOT / "native/test/ot_kernels_equal.cpp", *(ROOT / f"native/src/{s}.cpp" for s in SOURCES)]
    flags = ["-static", "-std=gnu++20", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'native/include'}"]
    binary = tmp_path / "equal"
    subprocess.run(["aarch64-linux-gnu-g++", *flags, "-o", binary, *files], check=True, timeout=300)
    done = subprocess.run(
        ["qemu-aarch64", "-cpu", "max", binary], check=True, timeout=120, capture_output=True, text=True
    )
    assert done.stdout.endswith("bytes the same\n")
