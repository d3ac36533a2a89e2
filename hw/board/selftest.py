# MicroPython: no contextlib, no zip(strict)
# mypy: ignore-errors
# ruff: noqa: UP031
"""Run on the board: known answers of every mode, time and heap of each stage, state of the random source.

ARGS: `slot` in use, `known` {mode: SHA-256 of the bytes}. Keys and seed are public test values; nothing of /bs is used
but to see whether config.json is there.
"""

import binascii
import gc
import hashlib
import json
import os
import sys
import time

ROWS: list = []


def timed(name: str, run: object) -> object:
    gc.collect()
    before = gc.mem_alloc()
    start = time.ticks_us()
    out = run()
    took = time.ticks_diff(time.ticks_us(), start)
    heap = gc.mem_alloc() - before
    ROWS.append({"stage": name, "us": took, "heap": heap})
    return out


class Config:
    """What a cipher reads of the settings: a public key file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def path(self, name: str) -> str:
        return self._path

    def read(self, name: str, size: int) -> bytes:
        with open(self._path, "rb") as f:
            return f.read()


class Keys:
    shared = b""
    base = bytes(range(32))


def encrypt(mode: str) -> str:
    """Two polynomials of a fixed picture; the digest of all that leaves the device."""
    from bsdev import settings
    from bsdev.encrypt import Layout, cipher
    from bsdev.keys import Stream

    keys = Keys()
    keys.shared = bytes(range(16 if mode == "aes" else 32))
    layout = Layout(settings.MODES[mode], 1500, 2)
    maker, core = timed(mode + " set-up", lambda: cipher(layout, Stream(), Config("/selftest.pk"), keys))
    maker.begin(bytes(range(32, 64)))
    h = hashlib.sha256(maker.nonce)
    for k in range(layout.polys):
        n = layout.pixels_in(k)
        for i in range(n):
            maker.pixels[i] = (7 * (k * 1024 + i) + 3) & 255
        h.update(timed("%s first %d" % (mode, k), lambda: bytes(maker.first(k))))  # noqa: B023
        h.update(timed("%s second %d" % (mode, k), lambda: bytes(maker.second(k))))  # noqa: B023
    if hasattr(maker, "_file"):
        maker._file.close()
    return core, binascii.hexlify(h.digest()).decode()


def test_key() -> bytes:
    """A public key file of a valid form whose coefficients are all the same."""
    bits = 0
    for i in range(4):
        bits |= 1234567 << (26 * i)
    return bytes(range(32)) + bits.to_bytes(13, "little") * 256


def random_source() -> dict:
    try:
        import network  # noqa: F401
        from bsdev import net
    except ImportError:
        from bsdev import net_host as net
    a, b = os.urandom(256), os.urandom(256)
    return {"trusted_now": bool(net.radio_on()), "repeats": a == b, "distinct": len(set(a + b))}


def main(args: dict) -> dict:
    if "/" + args["slot"] not in sys.path:
        sys.path.insert(0, "/" + args["slot"])
    with open("/selftest.pk", "wb") as f:
        f.write(test_key())
    results, cores = {}, {}
    try:
        for mode in sorted(args["known"]):
            try:
                cores[mode], results[mode] = encrypt(mode)
            except MemoryError:
                results[mode] = "out of memory"
    finally:
        os.remove("/selftest.pk")
    from bsdev import VERSION

    gc.collect()
    return {
        "version": VERSION,
        "results": results,
        "cores": cores,
        "stages": ROWS,
        "random": random_source(),
        "free": gc.mem_free(),
        "provisioned": "config.json" in (os.listdir("/bs") if "bs" in os.listdir("/") else []),
    }


print("@" + json.dumps(main(ARGS)))  # noqa: F821
