"""Run by MicroPython: the firmware's own files against tests/vectors. argv: app directory, vectors directory."""

import json
import struct
import sys
from array import array

sys.path.insert(0, sys.argv[1])
from bsdev import encrypt, kernels, keys, settings
from bsdev.aes import AesCtr
from bsdev.ring import Ring
from bsdev.rlwe import Rlwe
from bsdev.rlwe_sk import RlweSk

Q = 67104769
h = bytes.fromhex


def load(name):
    with open(sys.argv[2] + "/device_" + name + ".json") as f:
        return json.load(f)


def words(values):
    return array("I", [v % Q for v in values])


stream = keys.Stream()
for case in load("stream")["cases"]:
    out = bytearray(256)
    stream.reset(h(case["seed"]), case["purpose"], case["index"]).fill(out, 4)
    assert out[:200] == h(case["bytes"]), case
    assert stream.reset(h(case["seed"]), case["purpose"], case["index"]).take(64) == out[:64]

ring = Ring(stream)
ntt = load("ntt")
assert list(ring.w) == ntt["roots"]
for case in ntt["cases"]:
    x = words(case["in"])
    kernels.ntt(x, 0, 0, ring.w)
    assert list(x) == case["out"]
    kernels.intt(x, 0, 0, ring.w)
    assert list(x) == case["in"]
a, b = words(ntt["product"]["a"]), words(ntt["product"]["b"])
kernels.ntt(a, 0, 0, ring.w)
kernels.ntt(b, 0, 0, ring.w)
kernels.pmul(a, b)
kernels.intt(a, 0, 0, ring.w)
assert list(a) == ntt["product"]["c"]

# the largest and smallest residues everywhere: the lazy bounds hold
for value in (0, 1, Q - 1):
    x = array("I", [value] * 1024)
    kernels.ntt(x, 0, 0, ring.w)
    assert max(x) < Q
    y = array("I", x)
    kernels.intt(x, 0, 0, ring.w)
    assert list(x) == [value] * 1024
    kernels.pmul(y, array("I", [Q - 1] * 1024))
    kernels.negate(y)
    kernels.intt(y, 0, 0, ring.w)
    assert list(y) == [value] * 1024

sampling = load("sampling")
for case in sampling["ternary"]:
    ring.ternary(h(case["seed"]), case["purpose"], case["index"])
    kernels.intt(ring.u, 0, 0, ring.w)
    assert list(ring.u) == [v % Q for v in case["values"]]
for case in sampling["error"]:
    for i in range(1024):
        ring.x[i] = 0
    ring.error(h(case["seed"]), case["purpose"], case["index"])
    assert list(ring.x) == [v % Q for v in case["values"]]
for case in sampling["uniform"]:
    ring.uniform(h(case["seed"]))
    assert list(ring.x) == case["values"]


class Shape:
    """A layout of one polynomial with any number of coefficients in use."""

    polys = 1 << 20

    def __init__(self, n):
        self.n = n

    def used(self, k):
        return self.n

    pixels_in = used


rlwe = load("rlwe")
with open(sys.argv[3] + "/pk.bin", "wb") as f:
    f.write(h(rlwe["pk"]))
sk = load("rlwe_sk")
for kind, cases in (("rlwe", rlwe["cases"]), ("rlwe-sk", sk["cases"])):
    for case in cases:
        values = h(case["values"])
        shape = Shape(len(values))
        if kind == "rlwe":
            cipher = Rlwe(shape, stream, sys.argv[3] + "/pk.bin")
        else:
            cipher = RlweSk(shape, stream, h(sk["secret_seed"]), bytes(32))
        cipher.begin(h(case["seed"]))
        cipher.pixels[: len(values)] = values
        out = bytes(cipher.first(case["index"]))
        out += bytes(cipher.second(case["index"]))
        assert out == h(case["out"]), (kind, case["index"])

for case in load("aes")["cases"]:
    if case["unit"] % 64:
        continue  # pictures start their slots at multiples of 64 units
    data = h(case["data"])
    cipher = AesCtr(Shape(len(data)), stream, h(case["key"]), bytes(32))
    cipher.nonce = h(case["nonce"])
    cipher.pixels[: len(data)] = data
    assert bytes(cipher.second(case["unit"] // 64)) == h(case["out"])

k = load("keys")
secret = h(k["device_secret"])
assert keys.hkdf(secret, b"blindsight/1 manifest") == h(k["manifest_key"])
assert keys.hkdf(secret, b"blindsight/1 aes")[:16] == h(k["aes_key"])
assert keys.hkdf(secret, b"blindsight/1 rlwe-sk") == h(k["shared_rlwe_secret_seed"])
base = keys.hkdf(secret, b"blindsight/1 result-base")
assert base == h(k["result_base"])
assert keys.image_key(base, k["device"], h(k["image_id"]), h(k["manifest_hash"])) == h(k["result_key"])
with open(sys.argv[3] + "/pk.bin", "wb") as f:
    f.write(h(k["pk"]))

for p in load("picture")["pictures"]:
    pixels, seed = h(p["pixels"]), h(p["seed"])
    layout = encrypt.Layout(settings.MODES[p["mode"]], len(pixels), p["polys_per_block"])
    if p["mode"] == "rlwe":
        cipher = Rlwe(layout, stream, sys.argv[3] + "/pk.bin")
    elif p["mode"] == "rlwe-sk":
        cipher = RlweSk(layout, stream, h(k["shared_rlwe_secret_seed"]), base)
    else:
        cipher = AesCtr(layout, stream, h(k["aes_key"]), base)
    cipher.begin(seed)
    salt = stream.reset(seed, keys.SALT).take(32)
    assert salt == h(p["salt"]) and cipher.nonce == h(p["nonce"])
    assert layout.blocks == len(p["blocks"])
    for j in range(layout.blocks):
        block, c1 = b"", b""
        for i in layout.block_polys(j):
            n = layout.pixels_in(i)
            cipher.pixels[:n] = pixels[1024 * i : 1024 * i + n]
            first = bytes(cipher.first(i))
            c1 += first
            block += first + bytes(cipher.second(i))
        assert block == h(p["blocks"][j]) and len(block) == layout.block_bytes(j), (p["mode"], j)
        assert keys.sha256(salt, struct.pack("<H", j), block) == h(p["commitments"][j])
        if p["c1_hashes"]:
            assert keys.sha256(c1) == h(p["c1_hashes"][j])
print("ok")
