"""Broken servers for the negative controls: each leaves one thing out that a claim rests on. INSECURE; for evaluation alone.

The breakage is a random source that is none, handed to the real code where it takes its masks from: nothing else of the
protocol differs. The services take no random source from outside, so no configuration of theirs can do this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import numpy as np

from blindsight.fixed.rng import Rng, SystemRng
from blindsight.he.ingest import DELTA


class Zeros:
    """Masks off: every mask is zero."""

    def bytes(self, n: int) -> bytes:
        return bytes(n)


class Same:
    """Masks reused: every inference of a batch gets the masks of the first, in every batch."""

    def __init__(self, batch: int) -> None:
        self._batch = batch

    def bytes(self, n: int) -> bytes:
        one = hashlib.shake_256(b"a mask used twice").digest(n // self._batch)
        return one * self._batch


class Steps:
    """A mask R of the ingest that is delta times a random byte instead of uniform in Z_q."""

    def bytes(self, n: int) -> bytes:
        steps = np.frombuffer(SystemRng().bytes(n // 4), np.uint8)
        return (steps.astype("<u4") * np.uint32(DELTA)).tobytes()


def masks(tamper: Collection[str], batch: int, party: int = 1) -> Rng:
    """Where the masks r of a party's batch come from."""
    if "masks-off" in tamper or f"masks-off-{party}" in tamper:
        return Zeros()
    return Same(batch) if "masks-reused" in tamper else SystemRng()


def ingest(tamper: Collection[str]) -> Rng:
    """Where R of the ingest comes from."""
    if "ingest-mask-weak" in tamper:
        return Steps()
    return Zeros() if "ingest-mask-off" in tamper else SystemRng()


TAMPERS = ("masks-off", "masks-off-0", "masks-off-1", "masks-reused", "ingest-mask-off", "ingest-mask-weak")
