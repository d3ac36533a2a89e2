"""Randomness as an object that is passed in, never a global.

Protocol code takes an `Rng` and defaults to the operating system's generator. Deterministic generators exist in tests only.
"""

import os
from typing import Protocol

import numpy as np


class Rng(Protocol):
    """A source of independent uniform bytes; each call returns bytes never returned before."""

    def bytes(self, n: int) -> bytes: ...


class SystemRng:
    """The operating system's generator (getrandom), which blocks until it is seeded and raises when it fails."""

    def bytes(self, n: int) -> bytes:
        """`n` fresh uniform bytes.

        Raises:
            RuntimeError: the operating system returned fewer bytes than asked.
        """
        out = os.urandom(n)
        if len(out) != n:
            raise RuntimeError(f"the system's random source gave {len(out)} of {n} bytes")
        return out


def uniform_u32(rng: Rng, shape: tuple[int, ...] | int) -> np.ndarray:
    """Uniform ring elements, `uint32` of the given shape."""
    count = int(np.prod(shape))
    return np.frombuffer(bytearray(rng.bytes(4 * count)), dtype="<u4").reshape(shape)
