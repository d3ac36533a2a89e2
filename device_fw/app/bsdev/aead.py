"""Opening a sealed result share: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03; Poly1305 of RFC 8439).

The device only opens, never seals. The one-time Poly1305 key serves a single message; its arithmetic is
Python's integers and not constant-time, which tells a listener of timings at most about a key that is spent.
"""

import struct
from array import array

from bsdev import kernels
from bsdev.keys import equal

_SIGMA = b"expand 32-byte k"
_P = (1 << 130) - 5


def _hchacha(key, nonce16):
    x = array("I", _SIGMA + key + nonce16)
    kernels.rounds(x)
    raw = bytes(x)
    return raw[:16] + raw[48:]


def _poly1305(key, *parts):
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    acc = 0
    for part in parts:
        for i in range(0, len(part), 16):
            chunk = bytes(part[i : i + 16])
            chunk = chunk + bytes(16 - len(chunk))  # both parts are zero-padded to 16 bytes (RFC 8439, 2.8)
            acc = (acc + int.from_bytes(chunk, "little") + (1 << 128)) * r % _P
    acc = (acc + int.from_bytes(key[16:], "little")) & ((1 << 128) - 1)
    return acc.to_bytes(16, "little")


def open_sealed(key, sealed, aad):
    """Open nonce (24) || ciphertext || tag (16); returns the plaintext, or None when it was not sealed so.

    key: 32 bytes; sealed: at least 40 bytes; aad: bytes that must equal the sealer's.
    """
    sealed = memoryview(sealed)
    if len(sealed) < 40:
        return None
    body = sealed[24:-16]
    state = array("I", _SIGMA + _hchacha(key, bytes(sealed[:16])) + bytes(8) + bytes(sealed[16:24]))
    block = bytearray(64)
    kernels.chacha(block, state, 1)
    tag = _poly1305(block[:32], aad, body, struct.pack("<QQ", len(aad), len(body)))
    if not equal(tag, sealed[-16:]):
        return None
    plain = bytearray(body)
    for i in range(0, len(plain), 64):
        kernels.chacha(block, state, 1)
        n = min(64, len(plain) - i)
        kernels.xor(memoryview(plain)[i : i + n], block, n)
    return bytes(plain)
