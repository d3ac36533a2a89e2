"""Bare instead of salted block digests: the helper's view then picks the right one of two pictures.

The helper knows the AES key of an `aes` device, so it can encrypt any guess of a picture; a manifest with SHA-256 of
each block would confirm the guess. The manifest carries SHA-256(salt || block number || block), and the salt goes to
the cloud alone (DESIGN section 2). The attacker here tries no salt and every salt it could have: constants, what it
derives from the device's secret, and any 32 bytes that reached it.
"""

from __future__ import annotations

import hashlib
import os

import numpy as np

from blindsight import _device
from blindsight.client.encrypt import encrypt
from blindsight.client.identity import Identity
from blindsight.wire import keys, manifest
from blindsight.wire.blocks import DEGREE, Layout, Mode, commitment

SHAPE, PER_BLOCK = (32, 32, 3), 4
MISTAKES = ("bare", "salt-passed-on")


def picked(pairs: np.ndarray, mistake: str = "") -> tuple[int, int]:
    """(how often the helper picks right, how often it picks at all) of pairs of pictures, uint8 (N, 2, 32, 32, 3).

    Args:
        mistake: of `MISTAKES`: the device sends bare digests, or the cloud hands the helper the whole message, salt
            included; none: the real thing.
    """
    who = Identity("eval", os.urandom(32), b"", 0, Mode.AES, "any", bytes(32), SHAPE, PER_BLOCK)
    rng, right, decided = np.random.default_rng(2), 0, 0
    for i, pair in enumerate(pairs):
        truth = int(rng.integers(2))
        messages = encrypt(who, i, pair[truth].tobytes()).messages
        signed, _ = manifest.split_salt(messages[-1][1])
        parsed, seen = manifest.parse(signed), messages[-1][1] if mistake == "salt-passed-on" else signed
        commitments = parsed.commitments
        if mistake == "bare":
            commitments = tuple(hashlib.sha256(block).digest() for _, block in messages[:-1])
        salts = candidates(who, seen)
        fits = [_confirmed(_blocks(who, parsed.nonce, p.tobytes()), commitments, salts) for p in pair]
        if any(fits):
            decided += 1
            right += fits.index(True) == truth
    return right, decided


def candidates(who: Identity, seen: bytes) -> list[bytes]:
    """Salts to try: constants, the device's secret and keys of it, every 32 bytes of what the helper received."""
    derived = [who.secret, hashlib.sha256(who.secret).digest(), keys.manifest_key(who.secret)]
    return [bytes(32), *derived, *(seen[i : i + 32] for i in range(len(seen) - 31))]


def _confirmed(blocks: list[bytes], commitments: tuple[bytes, ...], salts: list[bytes]) -> bool:
    if tuple(hashlib.sha256(block).digest() for block in blocks) == commitments:
        return True
    return any(commitment(salt, 0, blocks[0]) == commitments[0] for salt in salts)


def _blocks(who: Identity, nonce: bytes, pixels: bytes) -> list[bytes]:
    """The blocks that a guessed picture would have had; the helper can compute them."""
    layout = Layout(Mode.AES, len(pixels), who.per_block)
    key = keys.aes_key(who.secret)
    return [
        b"".join(
            _device.aes_ctr(key, nonce, DEGREE // 16 * p, pixels[DEGREE * p : DEGREE * (p + 1)])
            for p in layout.polys_of(b)
        )
        for b in range(layout.blocks)
    ]
