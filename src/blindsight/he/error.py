"""How far the two shares of a linear layer may miss W * r: the planner's bound (DESIGN section 4).

Units are those of the accumulator, before truncation. The bound is probabilistic at nine standard deviations of sums of
many independent errors (below 2^-60 a coefficient for a Gaussian of that deviation), certain for what rounding and
wrapping add.
"""

import math

from blindsight.params import RingParams
from blindsight.params.rings import ERROR_SIGMA

TAIL = 9.0


def answer_error(params: RingParams, norm1: float, norm2: float) -> float:
    """The bound E of one answer.

    E = 1 + (9 sigma ||w||_2 + ||w||_1 / 2 + Z + 2^(d0-1) + 9 * 2^d1 * sqrt(N/18)) / delta, with d0, d1 the bits dropped
    from c0 and c1, sigma^2 the variance of e and, for d bits dropped from b, 4^d / 12; Z the noise of the encryption of
    zero: 9 standard deviations of e u + e1 s + e0, at least 2^11.

    Args:
        norm1, norm2: norms over all coefficients of all weight polynomials accumulated into the answer, other packed
            channels included.
    """
    n = params.n
    zero = max(2.0**11, TAIL * ERROR_SIGMA * math.sqrt(4 * n / 3 + 1))
    noise = (
        TAIL * _sigma(params) * norm2
        + norm1 / 2
        + zero
        + 2.0 ** (params.c0_dropped - 1)
        + TAIL * 2.0**params.c1_dropped * math.sqrt(n / 18)
    )
    return 1 + noise / params.delta


def pair_error(params: RingParams, norm1: float, norm2: float) -> float:
    """The bound of two answers of independent keys added, as in a concealed layer; the norms are those of either.

    What rounding adds for certain counts twice, the variances of what is random are added.
    """
    n, delta = params.n, params.delta
    variance = (
        (_sigma(params) * norm2) ** 2 + ERROR_SIGMA**2 * (4 * n / 3 + 1) + 4.0**params.c1_dropped * n / 18
    )
    certain = 1 + (norm1 / 2 + 2.0 ** (params.c0_dropped - 1)) / delta
    return 2 * certain + TAIL * math.sqrt(2 * variance) / delta


def _sigma(params: RingParams) -> float:
    """Deviation of an encrypted mask's error: its own, and that of rounding b."""
    return math.sqrt(ERROR_SIGMA**2 + (4.0**params.b_dropped / 12 if params.b_dropped else 0.0))
