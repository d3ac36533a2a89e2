"""A number with its uncertainty: three values that move together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Band:
    """low <= mid <= high. Sums and products combine the worst with the worst, so the ends are outer bounds and not a
    confidence interval; every operand here is >= 0.
    """

    low: float
    mid: float
    high: float

    def __post_init__(self) -> None:
        if not (0 <= self.low <= self.mid <= self.high < math.inf):
            raise ValueError(f"not a band: {self.low}, {self.mid}, {self.high}")

    @classmethod
    def exact(cls, value: float) -> Band:
        """A number that is known."""
        return cls(value, value, value)

    @classmethod
    def of(cls, values: Sequence[float]) -> Band:
        """From [low, mid, high]."""
        low, mid, high = values
        return cls(low, mid, high)

    def __add__(self, other: Band) -> Band:
        return Band(self.low + other.low, self.mid + other.mid, self.high + other.high)

    def __mul__(self, other: Band | float) -> Band:
        o = other if isinstance(other, Band) else Band.exact(other)
        return Band(self.low * o.low, self.mid * o.mid, self.high * o.high)

    def __truediv__(self, other: Band | float) -> Band:
        o = other if isinstance(other, Band) else Band.exact(other)
        return Band(self.low / o.high, self.mid / o.mid, self.high / o.low)

    def to_json(self) -> dict[str, float]:
        """Six significant digits are more than any of it deserves, and the same on every machine."""
        return {k: float(f"{v:.6g}") for k, v in (("low", self.low), ("mid", self.mid), ("high", self.high))}


ZERO = Band(0, 0, 0)


def total(bands: Any) -> Band:
    """The sum."""
    out = ZERO
    for band in bands:
        out = out + band
    return out
