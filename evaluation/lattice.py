"""Security estimates of the lattice parameter sets: the primal (uSVP) and the dual attack, by two cost models.

The lattice estimator (Albrecht, Player, Scott, J. Math. Cryptology 2015, and its successor) needs SageMath, which no
pip command installs; this is the part of it that decides at these parameters, and `tests/security/test_parameters.py`
holds it to the estimator's published figures for Kyber512 and Kyber768.

- Reduction: BKZ reaches the root Hermite factor delta(beta) of Chen (thesis, 2013); the profile follows the geometric
  series assumption.
- Primal: Bai and Galbraith's embedding (ACISP 2014), the secret scaled to the error; success where the projected short
  vector is shorter than the profile allows (Alkim, Ducas, Poeppelmann, Schwabe, USENIX Security 2016, section 6.3).
- Dual: a short vector of the scaled dual distinguishes with advantage exp(-2 (pi s)^2); repeated, with 2^(0.2075 beta)
  vectors from one sieve (the same, section 6.4; small secrets after Albrecht, EUROCRYPT 2017).
- Costs: `core`, one call of a sieve in dimension beta, 2^(0.292 beta) (Becker, Ducas, Gama, Laarhoven, SODA 2016): a
  floor; `gates`, the gate count of MATZOV (2022) with "dimensions for free" (Ducas, EUROCRYPT 2018): what the
  guideline of 2024 counts.

Hybrid attacks that guess part of a ternary secret gain a few bits more; the guideline's bounds (`GUIDELINE_BITS`) allow
for them and every set stays within those. Rings add nothing known at these parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from blindsight.params import RINGS, RingParams
from blindsight.params.rings import ERROR_SIGMA, GUIDELINE_BITS

TERNARY_SIGMA = math.sqrt(2 / 3)


@dataclass(frozen=True)
class Lwe:
    """An LWE instance: n unknowns of deviation `secret`, errors of deviation `error`, at most m samples."""

    n: int
    q: float
    secret: float
    error: float
    m: int

    @classmethod
    def of(cls, ring: RingParams) -> Lwe:
        """A ring's: ternary secret, binomial error, as many samples as an attack may want."""
        return cls(ring.n, float(ring.q), TERNARY_SIGMA, ERROR_SIGMA, 2 * ring.n)


@dataclass(frozen=True)
class Attack:
    """The cheapest choice: block size, lattice dimension, log2 of the cost in both models."""

    beta: int
    dimension: int
    core: float
    gates: float


def root_hermite(beta: int) -> float:
    """delta(beta), beta >= 50."""
    return float((beta / (2 * math.pi * math.e) * (math.pi * beta) ** (1 / beta)) ** (1 / (2 * (beta - 1))))


def gates(beta: int, dimension: int) -> float:
    """log2 of the gates of BKZ-beta in this dimension."""
    free = max(0.0, beta * math.log(4 / 3) / math.log(beta / (2 * math.pi * math.e)))
    slope, offset = 0.29613500308205365, 20.387885985467914
    calls = 1 / (1 - 2**-slope)  # progressive sieving, and progressive BKZ
    return slope * (beta - free) + offset + 2 * math.log2(calls) + math.log2(max(dimension - beta, 1))


def primal(lwe: Lwe) -> Attack:
    """The smallest block size that succeeds, with the dimension that suits it."""

    def best(beta: int) -> tuple[bool, int]:
        delta, margin, at = math.log2(root_hermite(beta)), -math.inf, 0
        for samples in range(max(1, beta - lwe.n), lwe.m + 1, 4):
            d = samples + lwe.n + 1
            volume = (samples * math.log2(lwe.q) + lwe.n * math.log2(lwe.error / lwe.secret)) / d
            now = (2 * beta - d - 1) * delta + volume - math.log2(lwe.error) - 0.5 * math.log2(beta)
            if now > margin:
                margin, at = now, d
        return margin >= 0, at

    beta = _least(lambda b: best(b)[0])
    dimension = best(beta)[1]
    return Attack(beta, dimension, 0.292 * beta, gates(beta, dimension))


def dual(lwe: Lwe) -> Attack:
    """The block size of least cost, over all numbers of samples."""
    found = []
    scale = lwe.error / lwe.secret
    for beta in range(60, 4 * lwe.n, 2):
        delta = math.log2(root_hermite(beta))
        samples = min(lwe.m, max(1, round(math.sqrt(lwe.n * math.log2(lwe.q / scale) / delta)) - lwe.n))
        d = samples + lwe.n
        length = d * delta + lwe.n * math.log2(lwe.q / scale) / d  # of the short vector
        exponent = (
            2 * (math.pi * 2.0 ** min(length, 500) * lwe.error / lwe.q) ** 2
        )  # minus ln of the advantage
        repeats = max(0.0, 2 * exponent / math.log(2) - 0.2075 * beta)
        found.append(Attack(beta, d, 0.292 * beta + repeats, gates(beta, d) + repeats))
        if repeats == 0:
            break
    return min(found, key=lambda a: a.gates)


def _least(works: Callable[[int], bool]) -> int:
    low, high = 50, 64
    while not works(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle, high)
    return high


def ingest_failure(ring: RingParams) -> float:
    """log2 of the chance that a pixel of the `rlwe` mode is decrypted wrongly: |error| reaches delta / 8.

    Rounding of c0 counts in full; rounding of c1 times s, e u and e1 s as normal (sums of 1,024 independent bounded terms).
    """
    n = ring.n
    variance = n * (4.0**ring.c1_dropped / 12) * (2 / 3) + (2 * n * (2 / 3) + 1) * ERROR_SIGMA**2
    room = ring.delta / 8 - 2.0 ** (ring.c0_dropped - 1) - n / 2
    return log2_tail(room / math.sqrt(variance))


def log2_tail(deviations: float) -> float:
    """log2 of the chance that a normal variable lies further out, on either side."""
    t = deviations
    if t < 30:
        return math.log2(math.erfc(t / math.sqrt(2)))
    return -(t * t) / 2 / math.log(2) - math.log2(t * math.sqrt(math.pi / 2))


def table() -> list[str]:
    """The rows of docs/parameters.md: every ring in use, with both attacks."""
    rows = []
    for ring in RINGS.values():
        lwe = Lwe.of(ring)
        attacks = primal(lwe), dual(lwe)
        cells = [ring.name, f"{ring.n:,}", str(ring.q_bits), str(GUIDELINE_BITS[ring.n])]
        cells += [f"{a.beta}, {a.core:.0f}, {a.gates:.0f}" for a in attacks]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


if __name__ == "__main__":
    print("\n".join(table()))
