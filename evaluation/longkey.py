"""One long-lived linear-layer key, and a cloud that owns a device to which logits are revealed: it solves for the key.

The two shares of an output add up to W*r + error, and the error is what rounding and encryption leave of

    W*e + u*e_pk + e0 + (e1 - d1)*s - d0,      u, e0, e1: the cloud's own encryption of zero; d0, d1: what it rounded off,

linear in the helper's key s (and e_pk) with coefficients that the cloud knows. Its device knows the picture, hence the
exact output, hence the error: one linear equation a revealed logit. Under one key the equations add up and least squares
finds s; under a key for every 16 inferences (DESIGN section 4) there are fewer of them than it takes by a factor of
thousands. The protocol's arithmetic is followed exactly, at N = 64 instead of 2,048 and for one fixed linear layer;
q, t, the roundings and the distributions are those of the `linear` ring.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blindsight.params import LINEAR
from blindsight.params.rings import ERROR_ETA

N, OUTPUTS, CHUNK = 64, 10, 1000
Q, T, DELTA = LINEAR.q, LINEAR.t, LINEAR.delta
D0, D1 = LINEAR.c0_dropped, LINEAR.c1_dropped


def negacyclic(x: np.ndarray, columns: int = N) -> np.ndarray:
    """Matrices [..., N, columns]: y @ M is x * y in Z[X]/(X^N + 1), its first coefficients; row i is X^i x."""
    k = np.arange(columns)[None, :] - np.arange(N)[:, None]
    return np.where(k < 0, -x[..., k % N], x[..., k % N])


def errors(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.binomial(2 * ERROR_ETA, 0.5, shape) - ERROR_ETA


@dataclass
class Key:
    """The helper's key of a toy ring, and its public key."""

    s: np.ndarray
    a: np.ndarray
    b: np.ndarray

    @classmethod
    def fresh(cls, rng: np.random.Generator) -> Key:
        s, a = rng.integers(-1, 2, N), rng.integers(0, Q, N)
        return cls(s, a, (-(a @ negacyclic(s) + errors(rng, N))) % Q)


@dataclass
class Equations:
    """What the cloud and its device have after some inferences, as sums: unknowns are (s, e_pk)."""

    square: np.ndarray
    linear: np.ndarray

    def __add__(self, other: Equations) -> Equations:
        return Equations(self.square + other.square, self.linear + other.linear)


def inferences(rng: np.random.Generator, key: Key, weights: np.ndarray, count: int) -> Equations:
    """`count` answers under one key, `OUTPUTS` logits revealed of each, turned into equations."""
    w, s = negacyclic(weights), negacyclic(key.s)
    r = rng.integers(-(1 << 31), 1 << 31, (count, N))
    a = rng.integers(0, Q, (count, N))
    b = (-(a @ s + errors(rng, count, N)) + DELTA * r) % Q  # int64 holds 2^50 * 64
    u, e0, e1 = rng.integers(-1, 2, (count, N)), errors(rng, count, N), errors(rng, count, N)
    mask = rng.integers(0, Q, (count, N))
    c0 = (_times(b, w) + u @ negacyclic(key.b) + e0 + mask) % Q
    c1 = (_times(a, w) + u @ negacyclic(key.a) + e1) % Q
    kept0, kept1 = (((c >> d) << d) + (1 << (d - 1)) for c, d in ((c0, D0), (c1, D1)))
    v = (kept0 + kept1 @ s) % Q
    listed = slice(0, OUTPUTS)
    shares = _share(v)[:, listed] - _share(mask)[:, listed]
    exact = (r @ w)[:, listed]  # |r| < 2^31 times 64 weights of 10 bits: 2^47
    error = (shares - exact + (1 << 31)) % T - (1 << 31)
    # from here on, the attacker's side: error * delta, less what it knows to the last digit
    rounding = (mask[:, listed].astype(np.float64) * T / Q) - _share(mask)[:, listed]
    right = (error - rounding) * float(DELTA) - e0[:, listed] - (kept0 - c0)[:, listed]
    known = np.concatenate([negacyclic(e1 + kept1 - c1, OUTPUTS), negacyclic(-u, OUTPUTS)], axis=1)
    flat = known.transpose(0, 2, 1).reshape(-1, 2 * N).astype(np.float64)
    return Equations(flat.T @ flat, flat.T @ right.reshape(-1))


def _times(x: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """x @ matrix mod q for x of 50 bits and a matrix of 10, in 64-bit integers."""
    low, high = x & ((1 << 25) - 1), x >> 25
    top = (high @ matrix) % Q  # 25 + 10 + 6 bits
    for _ in range(5):
        top = (top << 5) % Q
    return (top + low @ matrix) % Q


def _share(v: np.ndarray) -> np.ndarray:
    """round(t v / q) mod t, exactly: t v = v 2^32 in two steps that fit 64 bits."""
    whole, rest = v // DELTA, v % DELTA  # t v / q = (v - v/q) / delta
    fraction = rest / DELTA - v / (Q * float(DELTA))
    return (whole + np.floor(fraction + 0.5).astype(np.int64)) % T


def solve(seen: Equations) -> np.ndarray:
    """The attacker's best guess of s: ridge regression (s ternary: variance 2/3), rounded to -1, 0, 1."""
    noise = (DELTA**2) / 12  # the rounding of the helper's share
    prior = np.concatenate([np.full(N, 1.5), np.full(N, 2 / ERROR_ETA)]) * noise
    found = np.linalg.solve(seen.square + np.diag(prior), seen.linear)[:N]
    return np.clip(np.rint(found), -1, 1).astype(np.int64)


def right_coefficients(logits: int, seed: int = 3) -> float:
    """The share of coefficients of s that the attacker gets right after so many logits under one key."""
    rng = np.random.default_rng(seed)
    key, weights = Key.fresh(rng), rng.integers(-512, 512, N)
    seen = Equations(np.zeros((2 * N, 2 * N)), np.zeros(2 * N))
    for start in range(0, logits // OUTPUTS, CHUNK):
        seen += inferences(rng, key, weights, min(CHUNK, logits // OUTPUTS - start))
    return float(np.mean(solve(seen) == key.s))
