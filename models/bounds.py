"""Bounds of the fixed-point network: integer intervals, the HE error, and the bits that a truncation may
drop.

All rules are those of docs/numerics.md: |accumulator| + E < 2^30, |x| + E < 2^(m-1+f) - 2^f before a
truncation (one bit less before a signed extension), m + f <= 31, E <= 2^(f-4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from blindsight.he.error import answer_error
from blindsight.nn import kernels
from blindsight.nn.concealed import share_error
from blindsight.nn.cut import Conv
from blindsight.nn.floatnet import FloatOp
from blindsight.nn.linear import worst_error
from blindsight.params import LINEAR

ACCUMULATOR = float(
    (1 << 29) - (1 << 16)
)  # half of what the ring allows: leaves the bit of a signed extension
LOGIT = float(1 << 30)


@dataclass(frozen=True)
class Interval:
    """Per-element bounds low <= x <= high of integer values, as float64 arrays of the tensor's shape (exact <
    2^53).
    """

    low: np.ndarray
    high: np.ndarray

    @property
    def peak(self) -> float:
        return float(max(np.abs(self.low).max(initial=0), np.abs(self.high).max(initial=0)))

    def convolve(
        self,
        weight: np.ndarray,
        bias: np.ndarray,
        stride: tuple[int, int],
        padding: tuple[int, int, int, int],
        groups: int,
    ) -> Interval:
        """What an integer convolution makes of it; `bias` broadcasts to the output."""
        up, down = np.maximum(weight, 0).astype(np.float64), np.minimum(weight, 0).astype(np.float64)

        def conv(x: np.ndarray, w: np.ndarray) -> np.ndarray:
            return kernels.conv2d(x[None], w, stride, padding, groups)[0]

        low = conv(self.low, up) + conv(self.high, down) + bias
        return Interval(low, conv(self.high, up) + conv(self.low, down) + bias)

    def multiply(self, weight: np.ndarray, bias: np.ndarray) -> Interval:
        """What an integer matrix makes of it."""
        up, down = np.maximum(weight, 0).astype(np.float64), np.minimum(weight, 0).astype(np.float64)
        return Interval(up @ self.low + down @ self.high + bias, up @ self.high + down @ self.low + bias)

    def reduced(self, f: int, error: float, positive: bool) -> Interval:
        """After F_TR(f): floor or floor + 1 of x + error, and the ReLU where `positive`."""
        low = np.floor((self.low - error) / 2.0**f)
        high = np.floor((self.high + error) / 2.0**f) + (1 if f else 0)
        return Interval(np.maximum(low, 0), np.maximum(high, 0)) if positive else Interval(low, high)

    def clipped(self, most: float) -> Interval:
        return Interval(np.maximum(self.low, -most), np.minimum(self.high, most))


def he_error(weight: np.ndarray, op: FloatOp, source: tuple[int, ...], enough: float) -> float:
    """E of one linear layer in accumulator units: DESIGN section 4's bound, for every cut the planner may choose, and that
    of a concealed layer, so that one plan serves both deployments.

    First with the norm over all outputs, as if one answer held them; where that exceeds `enough`, the worst of the cuts.
    """
    if op.op == "linear":
        conv = Conv(source[0], 1, 1, op.shape[0])
    else:
        a = op.attrs
        c, h, w = source
        conv = Conv(c, h, w, op.shape[0], a["kernel"], a["stride"], a["padding"], a["groups"])
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    bound = answer_error(LINEAR, float(np.abs(rows).sum(axis=1).max()), float(np.sqrt((rows * rows).sum())))
    if bound > enough:
        bound = worst_error(conv, weight)
    return max(bound, share_error(conv))


def dropped_bits(bound: float, error: float, m: int, signed: bool) -> int:
    """The fewest f for which bound (E included) fits a truncation to m bits and E its last place."""
    width = m - 2 if signed else m - 1
    f = 0
    while bound >= 2.0 ** (width + f) - (2.0**f if f else 0):
        f += 1
    return max(f, math.ceil(math.log2(error)) + 4 if error > 0 else 0)
