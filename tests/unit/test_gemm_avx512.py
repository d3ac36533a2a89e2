"""The AVX-512 kernels of the integer layers, run through emulated intrinsics: right even where no machine
has them.
"""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
EXPORTS = """
#include "blindsight/gemm.hpp"
extern "C" void tile(const std::int16_t* w, std::size_t stride, std::size_t rows, const std::uint32_t* panel,
                     std::size_t pairs, std::uint32_t* out) {
    bs::gemm::avx512.tile(w, stride, rows, panel, pairs, out);
} extern "C" void interleave(const std::uint32_t* a, const std::uint32_t* b, std::size_t tiles, std::size_t
step,
                           std::uint32_t* panel) {
    bs::gemm::avx512.interleave(a, b, tiles, step, panel);
}
extern "C" void dot(const std::int16_t* w, std::size_t stride, std::size_t rows, const std::int16_t* lo,
                    const std::int16_t* hi, std::size_t pitch, std::size_t points, std::size_t n,
                    std::uint32_t* out) {
    bs::gemm::avx512.dot(w, stride, rows, lo, hi, pitch, points, n, out);
}
"""


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("avx512")
    (folder / "exports.cpp").write_text(EXPORTS)
    compiler = os.environ.get("CXX") or shutil.which("c++") or "g++"
    command = [compiler, "-std=c++20", "-O1", "-fPIC", "-shared", "-w", f"-I{ROOT / 'native/include'}"]
    command += ["-include", str(ROOT / "tests/unit/emulated/avx512.hpp"), "-D__x86_64__"]
    sources = [ROOT / "native/src/gemm_avx512.cpp", folder / "exports.cpp"]
    subprocess.run([*command, *map(str, sources), "-o", str(folder / "kernels.so")], check=True)
    return ctypes.CDLL(str(folder / "kernels.so"))


def pointer(x: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(x.ctypes.data)


def size(x: int) -> ctypes.c_size_t:
    return ctypes.c_size_t(x)


def random(rng: np.random.Generator, rows: int, depth: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights int16 [rows, depth] and ring elements uint32 [depth, width], with the extremes among them."""
    w = rng.integers(-(2**15), 2**15, (rows, depth), np.int16)
    x = rng.integers(0, 2**32, (depth, width), np.uint32)
    w[0], x[0] = -(2**15), 0x80008000
    return w, x


def product(w: np.ndarray, x: np.ndarray) -> np.ndarray:
    return (w.astype(np.uint64) @ x.astype(np.uint64)).astype(np.uint32)


@pytest.mark.parametrize("rows", [1, 3, 4, 11, 12])
@pytest.mark.parametrize("depth", [2, 10, 96])
def test_tiles_and_panels(kernels: ctypes.CDLL, rows: int, depth: int) -> None:
    w, x = random(np.random.default_rng(rows + depth), rows, depth, 48)
    pairs, tiles = depth // 2, 3
    panel = np.zeros((tiles, pairs, 32), np.uint32)
    for p in range(pairs):
        rest = panel.reshape(-1)[32 * p :]
        kernels.interleave(
            pointer(x[2 * p]), pointer(x[2 * p + 1]), size(tiles), size(pairs * 32), pointer(rest)
        )
    for t in range(tiles):
        out = np.zeros((rows, 16), np.uint32)
        kernels.tile(pointer(w), size(depth), size(rows), pointer(panel[t]), size(pairs), pointer(out))
        np.testing.assert_array_equal(out, product(w, x[:, 16 * t : 16 * t + 16]))


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("points", [1, 2])
@pytest.mark.parametrize("depth", [1, 31, 32, 95])
def test_dots(kernels: ctypes.CDLL, rows: int, points: int, depth: int) -> None:
    w, x = random(np.random.default_rng(rows + points + depth), rows, depth, points)
    low = np.ascontiguousarray(x.T).astype(np.uint16).view(np.int16)
    high = (np.ascontiguousarray(x.T) + np.uint32(0x8000) >> np.uint32(16)).astype(np.uint16).view(np.int16)
    out = np.zeros((rows, points), np.uint32)
    lengths = (size(depth), size(points), size(depth))
    kernels.dot(pointer(w), size(depth), size(rows), pointer(low), pointer(high), *lengths, pointer(out))
    np.testing.assert_array_equal(out, product(w, x))
