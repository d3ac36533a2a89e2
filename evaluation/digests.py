"""Bare instead of salted block digests: the helper's view then picks the right one of two pictures.

The helper knows the AES key of an `aes` device, so it can encrypt any guess of a picture; a manifest with SHA-256 of
each block would confirm the guess. The manifest carries SHA-256(salt || block number || block), and the salt goes to
the cloud alone (DESIGN section 2).
"""

from __future__ import annotations

import hashlib
import os

import numpy as np

from blindsight import _device
from blindsight.client.encrypt import encrypt
from blindsight.client.identity import Identity
from blindsight.wire import keys, manifest
from blindsight.wire.blocks import DEGREE, Layout, Mode

SHAPE, PER_BLOCK = (32, 32, 3), 4


def picked(pairs: np.ndarray, bare: bool) -> tuple[int, int]:
    """(how often the helper picks right, how often it picks at all) of pairs of pictures, uint8 (N, 2, 32, 32, 3).

    Args:
        bare: whether the device sent bare digests (the mistake) or the real manifest.
    """
    who = Identity("eval", os.urandom(32), b"", 0, Mode.AES, "any", bytes(32), SHAPE, PER_BLOCK)
    rng, right, decided = np.random.default_rng(2), 0, 0
    for i, pair in enumerate(pairs):
        truth = int(rng.integers(2))
        messages = encrypt(who, i, pair[truth].tobytes()).messages
        signed, _ = manifest.split_salt(messages[-1][1])
        parsed = manifest.parse(signed)
        seen = parsed.commitments
        if bare:
            seen = tuple(hashlib.sha256(block).digest() for _, block in messages[:-1])
        fits = [seen == digests(who, parsed.nonce, p.tobytes()) for p in pair]
        if any(fits):
            decided += 1
            right += fits.index(True) == truth
    return right, decided


def digests(who: Identity, nonce: bytes, pixels: bytes) -> tuple[bytes, ...]:
    """Bare digests of the blocks that a guessed picture would have had; the helper can compute them."""
    layout = Layout(Mode.AES, len(pixels), who.per_block)
    key = keys.aes_key(who.secret)
    out = []
    for b in range(layout.blocks):
        parts = [
            _device.aes_ctr(key, nonce, DEGREE // 16 * p, pixels[DEGREE * p : DEGREE * (p + 1)])
            for p in layout.polys_of(b)
        ]
        out.append(hashlib.sha256(b"".join(parts)).digest())
    return tuple(out)
