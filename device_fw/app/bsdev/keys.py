"""Keys and randomness of the device (docs/wire.md, sections 1 and 2).

Adversary: anyone on the network and the cloud; the helper shares the device secret and is trusted with it.
Every key is derived for one purpose. HMAC: RFC 2104, HKDF: RFC 5869, ChaCha20: RFC 8439, key erasure after
each request: Bernstein, "Fast-key-erasure random-number generators", 2017.
"""

import hashlib
import os
import struct
from array import array

from bsdev import kernels

U, E0, E1, RESULT, SALT, NONCE, PUBLIC = 1, 2, 3, 4, 5, 6, 7
SECRET, UNIFORM = 16, 18
IMAGE_ID, NEXT_KEY = 64, 65  # only inside the Drbg, under a key that never leaves this module


def sha256(*parts):
    """SHA-256 of the parts joined: 32 bytes."""
    h = hashlib.sha256()
    for part in parts:
        h.update(part)
    return h.digest()


def hmac(key, *parts):
    """HMAC-SHA256, keys of at most 64 bytes: 32 bytes."""
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in key) + b"\x36" * (64 - len(key)))
    for part in parts:
        inner.update(part)
    return sha256(bytes(b ^ 0x5C for b in key) + b"\x5c" * (64 - len(key)), inner.digest())


def hkdf(ikm, info):
    """HKDF-SHA256 with an empty salt, 32 bytes of output."""
    return hmac(hmac(bytes(32), ikm), info, b"\x01")


def str8(text):
    """A length byte and the UTF-8 text."""
    raw = text.encode()
    return bytes((len(raw),)) + raw


def equal(a, b):
    """Compare two byte strings without a branch on their contents."""
    if len(a) != len(b):
        return False
    diff = 0
    for x, y in zip(a, b):
        diff |= x ^ y
    return diff == 0


class Stream:
    """Stream(seed, purpose, index) of the wire format; one object is reset for each use."""

    def __init__(self):
        self.state = array("I", bytes(64))
        self.block = bytearray(64)

    def reset(self, seed, purpose, index=0):
        struct.pack_into("<4I", self.state, 0, 0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)
        memoryview(self.state)[4:12] = array("I", seed)
        struct.pack_into("<4I", self.state, 48, 0, purpose, index, 0)
        return self

    def fill(self, out, blocks):
        """Write the next 64 * blocks bytes of key stream to `out`."""
        kernels.chacha(out, self.state, blocks)

    def take(self, n):
        """The next n <= 64 bytes; the rest of that block is dropped."""
        self.fill(self.block, 1)
        return bytes(memoryview(self.block)[:n])


class Drbg:
    """Per-image seeds and image ids: ChaCha20 keyed from the system's entropy, fresh entropy mixed in every
    time.

    `radio_on` is asked before each draw: on an ESP32 the hardware generator is only random while the radio
    runs (ESP-IDF, "Random Number Generation"); without it the draw is refused with an OSError. Each draw
    hashes 1,024 bytes: a generator that gives a quarter of a bit a byte still fills 256 bits (an RP2040 has
    only its ring oscillator).
    """

    def __init__(self, radio_on, stream):
        self.radio_on = radio_on
        self.stream = stream
        self.key = bytes(32)

    def _entropy(self):
        if not self.radio_on():
            raise OSError("no entropy: os.urandom needs the radio on; join Wi-Fi before taking a picture")
        a, b = os.urandom(512), os.urandom(512)
        if a == b:
            raise OSError("os.urandom repeats itself: this port has no usable entropy source")
        return sha256(b"blindsight/1 drbg", self.key, a, b)

    def draw(self):
        """(32-byte per-image seed, 8 bytes for the image id), used for exactly one picture."""
        key = self._entropy()
        stream = self.stream
        seed = stream.reset(key, U).take(32)
        tail = stream.reset(key, IMAGE_ID).take(8)
        self.key = stream.reset(key, NEXT_KEY).take(32)
        return seed, tail


def image_key(base, device, image, manifest_hash):
    """The key that seals the helper's share of one picture's result."""
    return hkdf(base, b"blindsight/1 result" + str8(device) + image + manifest_hash)
