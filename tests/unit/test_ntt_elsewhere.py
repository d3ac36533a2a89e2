"""Ring kernels for processors that this machine may not be: AVX-512-IFMA through emulated intrinsics, NEON under QEMU.

Both give the residues of the kernels that run here, which test_ntt.py holds against known answers.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import blindsight._native as native

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "native/src"
EMULATED = ROOT / "tests/unit/emulated"
RINGS = [(1024, 67104769), (2048, 1125844072267777), (4096, 1125899906826241), (64, 1125844072267777)]
TERMS = 9


def build(folder: Path, compiler: list[str], kernels: str, source: Path) -> str:
    program = folder / kernels
    files = [EMULATED / "ring_check.cpp", SOURCES / "ntt_tables.cpp", source]
    command = [*compiler, "-std=gnu++20", "-O1", "-w", f"-I{ROOT / 'native/include'}", f"-DKERNELS={kernels}"]
    subprocess.run([*command, *map(str, files), "-pthread", "-o", str(program)], check=True)
    return str(program)


@pytest.fixture(scope="module")
def ifma(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("ifma")
    text = (SOURCES / "ring_ifma.cpp").read_text()
    plain = folder / "ring_ifma.cpp"  # without the pragmas: no function may really be compiled for AVX-512
    plain.write_text("".join(line for line in text.splitlines(True) if not line.startswith("#pragma")))
    compiler = [
        os.environ.get("CXX") or shutil.which("c++") or "g++",
        "-D__x86_64__",
        "-include",
        str(EMULATED / "ifma.hpp"),
    ]
    return [build(folder, compiler, "kIfmaKernels", plain)]


@pytest.fixture(scope="module")
def neon(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("neon")
    program = build(folder, ["aarch64-linux-gnu-g++", "-static"], "kNeonKernels", SOURCES / "ring_neon.cpp")
    return ["qemu-aarch64", program]


def check(command: list[str], n: int, q: int) -> None:
    rng = np.random.default_rng(n)
    x = rng.choice([0, 1, q // 2, q // 2 + 1, q - 2, q - 1], n).astype(np.uint64)
    small = rng.integers(-(1 << 31) if q >> 31 else 1 - q, min(q, 1 << 31), n).astype(np.int32)
    a = rng.integers(0, q, (TERMS, n + 8), dtype=np.uint64)
    b = rng.integers(0, q, (TERMS, 2, n + 8), dtype=np.uint64)
    a[:, : n // 2], b[:, :, : n // 4] = q - 1, q - 1
    data = b"".join(v.tobytes() for v in (x, small, a, b))
    found = subprocess.run(
        [*command, str(n), str(q), str(TERMS)], input=data, capture_output=True, check=True
    )
    want = np.empty((5, n), np.uint64)
    native.ntt_forward(n, q, x, want[0])
    native.ntt_forward_signed(n, q, small, want[1])
    native.ntt_inverse(n, q, x, want[2])
    native.ntt_sum_products(n, q, a, b, want[3:])
    assert np.array_equal(np.frombuffer(found.stdout, "<u8").reshape(5, n), want)


@pytest.mark.parametrize(("n", "q"), RINGS)
def test_ifma(ifma: list[str], n: int, q: int) -> None:
    check(ifma, n, q)


@pytest.mark.parametrize(("n", "q"), RINGS)
def test_neon(neon: list[str], n: int, q: int) -> None:
    check(neon, n, q)
