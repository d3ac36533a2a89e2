"""Tests of uniformity, each with the chance it leaves for a false alarm; they catch masks that are missing or repeated."""

from __future__ import annotations

import math

import numpy as np

ALARM = 1e-6  # p-values below this are a finding


def p_bytes(data: np.ndarray) -> float:
    """p-value of "these bytes are uniform": chi-square, 255 degrees of freedom (Wilson and Hilferty's approximation)."""
    return p_counts(np.bincount(np.ascontiguousarray(data).view(np.uint8).reshape(-1), minlength=256))


def p_modulo(values: np.ndarray, modulus: int, bins: int = 256) -> float:
    """p-value of "uniform below `modulus`": chi-square over equal bins."""
    index = (values.reshape(-1).astype(np.float64) * bins / modulus).astype(np.intp)
    return p_counts(np.bincount(index, minlength=bins))


def p_counts(counts: np.ndarray) -> float:
    """p-value, two-sided, of equal chances behind these counts (too even is suspicious too)."""
    freedom, expected = len(counts) - 1, counts.sum() / len(counts)
    if expected < 5:
        raise ValueError(f"{counts.sum()} values are too few for {len(counts)} bins")
    chi = float(((counts - expected) ** 2 / expected).sum())
    z = ((chi / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))
    return math.erfc(abs(z) / math.sqrt(2))


def p_squares(z: np.ndarray, n: int) -> float:
    """p-value, two-sided, of "these are standard scores of fair coins, each tossed n times": the sum of their squares."""
    variance = 2 * (1 - 1 / n) * z.size  # of the sum
    return math.erfc(abs(float((z**2).sum()) - z.size) / math.sqrt(2 * variance))


def p_same(a: np.ndarray, b: np.ndarray) -> float:
    """p-value of "two samples of one distribution": Kolmogorov and Smirnov's test, asymptotic (ties make it cautious)."""
    both = np.sort(np.concatenate([a, b]))
    ranks = [np.searchsorted(np.sort(x), both, side="right") / len(x) for x in (a, b)]
    size = len(a) * len(b) / (len(a) + len(b))
    t = (math.sqrt(size) + 0.12 + 0.11 / math.sqrt(size)) * float(np.abs(ranks[0] - ranks[1]).max())
    if t < 0.3:
        return 1.0
    return float(min(1.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * (k * t) ** 2) for k in range(1, 101))))
