"""Attacks on the answers of a linear layer, and an evaluator with steps to leave out (DESIGN section 4).

The helper receives answers W * Enc(r). `Careless` rebuilds the evaluator's sequence step by step, so that single steps
can be left out; the attacks then recover weights, and on answers of the real `he.linear.Evaluator` they do not.
INSECURE by purpose; for evaluation and tests.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sympy import QQ, ZZ
from sympy.polys.matrices import DomainMatrix

import blindsight._native as native
from blindsight.he.linear import Evaluator, Scattered
from blindsight.he.secret.linear import LayerKey
from blindsight.params import LINEAR, LOGITS, RingParams

SEED = bytes(range(32))

# one 3 x 3 kernel of 12 bits, and where its taps are: known to the helper, since the plan is public
KERNEL = np.array([1371, -22, 905, -1804, 2047, 3, -640, 77, -1290], np.int32)
PLACES = np.array([0, 1, 2, 32, 33, 34, 64, 65, 66], np.int32)


def forward(params: RingParams, x: np.ndarray) -> np.ndarray:
    """Integers [N] of any size, transformed: uint64 [primes, N]."""
    out = np.empty((len(params.primes), params.n), np.uint64)
    for row, p in zip(out, params.primes, strict=True):
        native.ntt_forward(params.n, p, np.mod(x, p).astype(np.uint64), row)
    return out


def product(params: RingParams, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Coefficients in [0, q), Python integers [N], of a transformed product."""
    rows = np.empty_like(a)
    for row, x, y, p in zip(rows, a, b, params.primes, strict=True):
        native.ntt_sum_products(params.n, p, x[None], y[None], row)
        native.ntt_inverse(params.n, p, row, row)
    value = rows[0].astype(object)
    if len(params.primes) == 2:
        p1, p2 = params.primes
        value = value + p1 * ((rows[1].astype(object) - value) * pow(p1, -1, p2) % p2)
    return value


def shift(x: np.ndarray, places: int) -> np.ndarray:
    """X^places * x."""
    return np.where(np.arange(x.size) < places, -np.roll(x, places), np.roll(x, places))


def unpacked(data: bytes, width: int, count: int) -> np.ndarray:
    stream = int.from_bytes(data, "little")
    return np.array([(stream >> i * width) & ((1 << width) - 1) for i in range(count)], object)


def half_back(params: RingParams, x: np.ndarray, dropped: int) -> np.ndarray:
    return ((x << dropped) + (1 << (dropped - 1))) % params.q


def centred(x: np.ndarray, q: int) -> np.ndarray:
    x = x % q
    return np.where(x > q // 2, x - q, x)


class Owner:
    """The helper: its key, one encrypted mask, and all that it remembers of it."""

    def __init__(self, params: RingParams) -> None:
        self.params = params
        self.key = LayerKey(params, SEED)
        self.secret = self.key._live()
        self.r = np.random.default_rng(11).integers(-(1 << 31), 1 << 31, (1, params.n)).astype(np.int32)
        self.sent = self.key.encrypt(self.r)
        self.evaluator = Evaluator(params, SEED, self.key.public)
        self.ct = self.evaluator.load(self.sent)
        self.b, self.a = np.ascontiguousarray(self.ct[0, ..., : params.n])
        ones = np.ones_like(self.a)
        phase = product(params, self.b, ones) + product(params, self.a, self.secret)
        self.error = centred(phase - self.r[0].astype(object) * params.delta, params.q).astype(np.int64)
        assert np.abs(self.error).max() <= 21

    def restore(self, answer: bytes) -> tuple[np.ndarray, np.ndarray]:
        """(c0, c1) of an answer that lists every coefficient."""
        p = self.params
        size = p.n * p.c1_bits // 8
        c0, c1 = unpacked(answer[size:], p.c0_bits, p.n), unpacked(answer[:size], p.c1_bits, p.n)
        return half_back(p, c0, p.c0_dropped), half_back(p, c1, p.c1_dropped)

    def phase(self, c0: np.ndarray, c1: np.ndarray) -> np.ndarray:
        """v = c0 + c1 s, as the helper decrypts it."""
        return (c0 + product(self.params, forward(self.params, c1), self.secret)) % self.params.q


class Careless:
    """The evaluator's sequence for one input polynomial, with steps to leave out."""

    def __init__(self, owner: Owner):
        self.owner, self.params = owner, owner.params
        self.rng = np.random.default_rng(12)

    def uniform(self, bound: int) -> np.ndarray:
        size = self.params.n
        words = [self.rng.integers(0, 1 << 63, size).astype(object) for _ in range(3)]
        return (words[0] + (words[1] << 63) + (words[2] << 126)) % bound

    def answer(
        self, w: np.ndarray, *, zero: bool, uniform: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(c0, c1, this side's shares), rounded as on the wire."""
        p, rng = self.params, self.rng
        wt = forward(p, w)
        c0, c1 = product(p, wt, self.owner.b), product(p, wt, self.owner.a)
        if zero:
            u = forward(p, rng.integers(-1, 2, p.n))
            pk_b, pk_a = np.ascontiguousarray(self.owner.evaluator._key[0, ..., : p.n])
            c0 = c0 + product(p, u, pk_b) + rng.binomial(42, 0.5, p.n) - 21
            c1 = c1 + product(p, u, pk_a) + rng.binomial(42, 0.5, p.n) - 21
        mask = self.uniform(p.q) if uniform else self.uniform(1 << 32) * p.delta  # the second is the mistake
        shares = -((2 * p.t * mask + p.q) // (2 * p.q)) % p.t
        c0, c1 = (c0 + mask) % p.q >> p.c0_dropped, c1 % p.q >> p.c1_dropped
        return half_back(p, c0, p.c0_dropped), half_back(p, c1, p.c1_dropped), shares.astype(np.uint32)


def kernel_polynomial() -> np.ndarray:
    w = np.zeros(LINEAR.n, np.int64)
    w[PLACES] = KERNEL
    return w


def nearest(matrix: list[list[int]], target: list[int]) -> list[int]:
    """The lattice point near `target`: Babai's nearest plane on an LLL-reduced basis, in exact arithmetic."""
    size = len(matrix)
    lattice = DomainMatrix([[ZZ(x) for x in row] for row in matrix], (size, size), ZZ).lll()
    basis = [[int(x) for x in row] for row in lattice.to_Matrix().tolist()]
    stars: list[list[Any]] = []
    for row in basis:
        star = [QQ(x) for x in row]
        for other in stars:
            mu = sum(QQ(x) * y for x, y in zip(row, other, strict=True)) / sum(y * y for y in other)
            star = [x - mu * y for x, y in zip(star, other, strict=True)]
        stars.append(star)
    rest = list(target)
    for row, star in zip(reversed(basis), reversed(stars), strict=True):
        c = sum(QQ(x) * y for x, y in zip(rest, star, strict=True)) / sum(y * y for y in star)
        k = math.floor(c + QQ(1, 2))
        rest = [x - k * y for x, y in zip(rest, row, strict=True)]
    return [t - x for t, x in zip(target, rest, strict=True)]


def kernel_from_c1(owner: Owner, c1: np.ndarray) -> list[int]:
    """The attack on a bare a * W: nine unknowns, known `a`, equations with a rounding error of 12 bits out of 50.

    c1[j] = sum over p of (X^place[p] a)[j] W[p] mod q, for more j than there are unknowns: the closest vector in a
    lattice of 16 dimensions.
    """
    q, taps, rows = LINEAR.q, len(PLACES), slice(100, 116)
    a = product(LINEAR, owner.a, np.ones_like(owner.a))
    work = [[int(x) % q for x in shift(a, int(p))[rows]] for p in PLACES]  # taps x equations
    unmix = [[int(i == j) for j in range(taps)] for i in range(taps)]
    for col in range(taps):  # the first nine equations to the identity, which gives the lattice a basis
        pivot = next(i for i in range(col, taps) if work[i][col])
        work[col], work[pivot], unmix[col], unmix[pivot] = work[pivot], work[col], unmix[pivot], unmix[col]
        scale = pow(work[col][col], -1, q)
        work[col], unmix[col] = [x * scale % q for x in work[col]], [x * scale % q for x in unmix[col]]
        for i in set(range(taps)) - {col}:
            f = work[i][col]
            work[i] = [(x - f * y) % q for x, y in zip(work[i], work[col], strict=True)]
            unmix[i] = [(x - f * y) % q for x, y in zip(unmix[i], unmix[col], strict=True)]
    wraps = [[q * int(i == j) for j in range(16)] for i in range(taps, 16)]
    mixed = nearest(work + wraps, [int(x) for x in c1[rows]])[:taps]
    w = [sum(m * row[p] for m, row in zip(mixed, unmix, strict=True)) % q for p in range(taps)]
    return [x - q if x > q // 2 else x for x in w]


WEIGHT, ANSWERS = 31000, 120  # one 16-bit weight, one input polynomial, that many answers


def regress(owner: Owner, phases: np.ndarray) -> tuple[float, float]:
    """The attack on v = delta * (..) + W * error + noise: (estimate of W, its standard deviation).

    The helper knows the error of its own encryption and regresses v modulo delta on it.
    """
    rest = centred(phases, LOGITS.delta).astype(np.float64)
    error = np.broadcast_to(owner.error.astype(np.float64), rest.shape)
    return float((error * rest).mean() / (error * error).mean()), float(
        rest.std() / np.sqrt((error * error).sum())
    )


def chi_square(values: np.ndarray, modulus: int, bins: int = 64) -> float:
    """How far values are from uniform below `modulus`, in standard deviations of the chi-square statistic."""
    counts = np.bincount((values.ravel() * bins // modulus).astype(np.int64), minlength=bins)
    expected = values.size / bins
    return float((((counts - expected) ** 2 / expected).sum() - (bins - 1)) / math.sqrt(2 * (bins - 1)))


def careless_phases(owner: Owner, answers: int = ANSWERS) -> np.ndarray:
    """What the helper decrypts when the mask is delta times a random share instead of R uniform in Z_q."""
    careless, w = Careless(owner), np.zeros(owner.params.n, np.int64)
    w[0] = WEIGHT
    views = [careless.answer(w, zero=True, uniform=False) for _ in range(answers)]
    return np.stack([owner.phase(c0, c1) for c0, c1, _ in views])


def real_views(owner: Owner, answers: int = ANSWERS) -> list[tuple[np.ndarray, np.ndarray]]:
    """(c0, c1) of answers of the real evaluator under the same weight."""
    n = owner.params.n
    weights = Scattered(np.zeros((1, 1), np.int32), np.full((answers, 1, 1), WEIGHT, np.int32))
    everything = np.tile(np.arange(n, dtype=np.int32), (answers, 1))
    data, _ = owner.evaluator.answer(owner.ct, np.zeros(1, np.int32), weights, everything)
    size = len(data) // answers
    return [owner.restore(data[i * size : (i + 1) * size]) for i in range(answers)]
