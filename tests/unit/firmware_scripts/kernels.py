"""Run by MicroPython: each viper kernel against Python's own integers on random and extreme inputs. argv: app."""

import os
import struct
import sys
from array import array

sys.path.insert(0, sys.argv[1])
from bsdev import kernels

Q = 67104769


def residues():
    return array("I", [v % Q for v in struct.unpack("<1024I", os.urandom(4096))])


edge = [0, 1, 2, 65535, 65536, (1 << 25), Q // 2, Q - 65536, Q - 2, Q - 1]
for a in edge:
    x = array("I", [a] * 1024)
    y = array("I", [edge[i % len(edge)] for i in range(1024)])
    kernels.pmul(x, y)
    assert list(x) == [a * v % Q for v in y]
for _ in range(20):
    x, y = residues(), residues()
    want = [a * b % Q for a, b in zip(x, y)]
    kernels.pmul(x, y)
    assert list(x) == want
    kernels.negate(y)
    kernels.negate(x)
    assert list(x) == [-v % Q for v in want]

# all-ones and all-zeros streams are the extreme errors, at the extreme residues
for fill, e in ((b"\xff", 21), (b"\x00", -21)):
    for value in (0, Q - 1, 30):
        x = array("I", [value] * 1024)
        kernels.add_error(x, fill * 1344, 8)
        assert list(x) == [(value + e) % Q] * 256 + [value] * 768

stream = os.urandom(1344)
w = struct.unpack("<336I", stream)
x = residues()
before = list(x)
kernels.add_error(x, stream, 8)
for i in range(256):
    g, j = divmod(i, 32)
    assert x[i] == (before[i] + sum(w[42 * g + k] >> j & 1 for k in range(42)) - 21) % Q

x = array("I", bytes(4096))
assert (
    kernels.take_uniform(
        x, 1000, b"\xff\xff\xff\xff" * 30 + struct.pack("<I", Q) + struct.pack("<I", Q - 1), 32
    )
    == 1001
)
assert x[1000] == Q - 1
assert kernels.take_uniform(x, 1023, b"\x01\x00\x00\x00" * 4, 4) == 1024 and x[1023] == 1

for drop in (8, 14, 15):
    for n in (1, 7, 32, 816, 1024):
        x = residues()
        out = bytearray(2400)
        size = kernels.pack(out, x, n, drop)
        acc = 0
        for i in range(n):
            acc |= (x[i] >> drop) << (i * (26 - drop))
        assert size == (n * (26 - drop) + 7) // 8
        assert out[:size] == acc.to_bytes(size, "little") and not any(out[size:])

x = residues()
before = list(x)
pixels = os.urandom(1024)
kernels.add_pixels(x, pixels, 1000)
assert list(x) == [(v + 262128 * p) % Q for v, p in zip(before[:1000], pixels)] + before[1000:]
print("ok")
