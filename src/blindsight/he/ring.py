"""What both sides of a linear layer's encryption share: native kernels, sizes, lists of coefficients."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

import blindsight._native as _native
from blindsight.params import RingParams

SEED_BYTES = 32
Coefficients = np.ndarray | Sequence[np.ndarray]


@lru_cache(maxsize=16)
def kernels(params: RingParams) -> Any:
    """The native kernels of a ring with 32-bit plaintexts.

    Raises:
        ValueError: the ring is not one for linear layers (t = 2^32).
    """
    if params.t != 1 << 32:
        raise ValueError(f"ring {params.name} has t = {params.t}, linear layers need 2^32")
    return _native.LinearRing(
        params.n, list(params.primes), params.c0_bits, params.c1_bits, params.b_bits or 0
    )


def polynomial_bytes(params: RingParams) -> int:
    """Bytes of one polynomial sent exactly: a public key."""
    return int(kernels(params).poly_bytes)


def mask_bytes(params: RingParams) -> int:
    """Bytes of b of one encrypted mask, rounded where the ring says so."""
    return int(kernels(params).mask_bytes)


def encryption_bytes(params: RingParams, polynomials: int) -> int:
    """Bytes that the key owner sends for that many encrypted polynomials of one call."""
    return SEED_BYTES + polynomials * mask_bytes(params)


def answer_bytes(params: RingParams, listed: int) -> int:
    """Bytes of one answer with that many listed coefficients."""
    return int(kernels(params).answer_bytes(listed))


def listing(listed: Coefficients, repeat: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Listed coefficients in the native form: all of them, where each answer's begin, how many they are.

    Args:
        listed: int [A, L], or one int [L_i] for each list; each list serves `repeat` consecutive answers.
    """
    lists = [np.asarray(x, dtype=np.int32).reshape(-1) for x in listed]
    counts = np.array([x.size for x in lists], np.uint64)
    firsts = np.concatenate(([0], np.cumsum(counts)[:-1])).astype(np.uint64) if lists else counts
    flat = np.concatenate(lists) if lists else np.zeros(0, np.int32)
    return flat, np.repeat(firsts, repeat), np.repeat(counts, repeat)
