"""Broken servers for the negative controls: each leaves one thing out that a claim rests on. INSECURE; for evaluation alone.

The breakage is a random source that is none, handed to the real code where it takes its masks from: nothing else of the
protocol differs. The services take no random source from outside, so no configuration of theirs can do this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from blindsight.fixed.rng import Rng, SystemRng


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


def masks(tamper: Collection[str], batch: int) -> Rng:
    """Where the masks r of a batch come from."""
    if "masks-off" in tamper:
        return Zeros()
    return Same(batch) if "masks-reused" in tamper else SystemRng()


def ingest(tamper: Collection[str]) -> Rng:
    """Where R of the ingest comes from."""
    return Zeros() if "ingest-mask-off" in tamper else SystemRng()


TAMPERS = ("masks-off", "masks-reused", "ingest-mask-off")
