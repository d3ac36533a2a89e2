"""Public look-up tables of lines: what F_LUT evaluates, and how a real function becomes one.

The argument is an integer x (a number times 2^scale_in) in [low, high]; z = x - low + 2^l lies in [2^l, 2^(8 +
l)). Additive shares of z give an index h = h0 + h1 mod 256 of their high parts and a rest r = r0 + r1 < 2^(l+1)
of their low parts with z = h 2^l + r, no carry computed: so line h is fitted over the two segments h and h + 1,
and the first segment is left out (an index of -1 never occurs). A line is (base[h] + slope[h] r) / 2^shift in
units of 2^-scale_out, `offset` added so that no value is negative.

Error: with segments of width d the line is within d^2 |f''| / 4 of the function (minimax over 2d), plus one
unit from two roundings. Tables are public: they show the function and the scales, nothing of inputs or weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

K = 8
LINES = 1 << K

Function = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Table:
    """256 lines.

    Attributes:
        low, high: the arguments allowed, high - low < 255 * 2^l.
        l: low bits of an argument that the lines interpolate over.
        w: bits of the ring of the values; 0 <= value + offset < 2^(w-1).
        shift: fractional bits of base and slope.
        base, slope: int32 [256].
        offset: added to every value within the tables.
    """

    low: int
    high: int
    l: int
    w: int
    shift: int
    offset: int
    base: np.ndarray
    slope: np.ndarray

    @property
    def bits(self) -> int:
        """Bits of z."""
        return K + self.l

    @classmethod
    def fit(cls, function: Function, low: int, high: int, scale_in: int, scale_out: int) -> Table:
        """Lines near `function` (float64 to float64, continuous) on [low, high] / 2^scale_in, values in units of 2^-scale_out.

        Raises:
            ValueError: an empty range, a value that is not finite, or a range of values beyond 24 bits.
        """
        if low >= high:
            raise ValueError(f"a table needs low < high, not {low} and {high}")
        l = max(0, math.ceil(math.log2((high - low + 1) / (LINES - 1))))
        lines = np.array([_line(function, low, high, l, scale_in, h) for h in range(LINES)]) * 2.0**scale_out
        if not np.isfinite(lines).all():
            raise ValueError("the function is not finite over the whole range of the table")
        ends = np.stack([lines[:, 0] + lines[:, 1] * r for r in (0, (2 << l) - 2)])
        least, most = math.floor(ends.min()), math.ceil(ends.max())
        w = (most - least + 4).bit_length() + 1
        if w > 24:
            raise ValueError(
                f"values span {most - least} units of 2^-{scale_out}: choose a smaller output scale"
            )
        shift, offset = 30 - w, 2 - least
        base = np.rint((lines[:, 0] + offset) * 2.0**shift).astype(np.int32)
        slope = np.rint(lines[:, 1] * 2.0**shift).astype(np.int32)
        return cls(low, high, l, w, shift, offset, base, slope)

    def values(self, x: np.ndarray, split: int = 0) -> np.ndarray:
        """The lines at x (int64, clipped to [low, high]) in units of the output, unrounded, as if the low part of share 1 were `split`.

        The protocol is within one unit of this for its own split.
        """
        z = np.clip(x, self.low, self.high) - self.low + (1 << self.l)
        first = (z - split) & ((1 << self.l) - 1)
        h, r = (z - split - first) >> self.l, first + split
        return (self.base[h] + self.slope[h].astype(np.float64) * r) / 2.0**self.shift - self.offset


def _line(function: Function, low: int, high: int, l: int, scale_in: int, h: int) -> tuple[float, float]:
    """Value at r = 0 and slope of line h, fitted to the arguments that exist; a line that has none is constant."""
    end = high - low + (1 << l)
    first = min(max(h, 1) << l, end)
    z = np.unique(np.linspace(first, max(first, min(((h + 2) << l) - 2, end)), 129).astype(np.int64))
    y = np.asarray(function((z - (1 << l) + low) / 2.0**scale_in), dtype=np.float64)
    r = z - (h << l)
    slope = (y[-1] - y[0]) / (r[-1] - r[0]) if len(r) > 1 else 0.0
    rest = y - slope * r
    return float(rest.max() + rest.min()) / 2, float(slope)
