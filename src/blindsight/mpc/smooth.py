"""Named real functions on shares: tables of lines on a bounded range, and beyond it a constant or a straight line.

| function | range of the table | left of it | right of it |
| --- | --- | --- | --- |
| tanh | -5 .. 5 | -1 | 1 |
| sigmoid, hardsigmoid | -10 .. 10, -3 .. 3 | 0 | 1 |
| silu, softplus, mish | -10 .. 10 | f(low) | x - high + f(high) |
| gelu, gelu_tanh, hardswish, elu | -5 .. 5, -5 .. 5, -3 .. 3, -10 .. 0 | f(low) | x - high + f(high) |
| exp | -16 .. 0 | 0 | 1 |
| reciprocal | 1/2 .. 8 | 2 | 1/8 |

Outside the range the error is that of the cut: e.g. 9.1e-5 for tanh, 4.6e-5 for sigmoid, 4.6e-4 for silu.
`Smooth.error` is the whole bound for a given pair of scales, measured on every argument of the table (the
rounding of the input, F_TR, apart).

Realisation, adversary, leakage: `Lut`, and `ReLU` for the straight line, side by side in the same flights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from blindsight.mpc.lut import CHUNK, Lut
from blindsight.mpc.relu import ReLU
from blindsight.mpc.session import Session, chunks, drive, ring_vector
from blindsight.mpc.table import Function, Table
from blindsight.mpc.trunc import TruncateExtend
from blindsight.ot.correlations import Draw


@dataclass(frozen=True)
class Shape:
    """A function, the range of its table, and whether it goes on with slope one beyond the upper end."""

    function: Function
    low: float
    high: float
    line: bool = False


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(x / 2))


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def _gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2)))


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


SHAPES: dict[str, Shape] = {
    "tanh": Shape(np.tanh, -5, 5),
    "sigmoid": Shape(_sigmoid, -10, 10),
    "hardsigmoid": Shape(lambda x: np.clip(x / 6 + 0.5, 0, 1), -3, 3),
    "silu": Shape(lambda x: x * _sigmoid(x), -10, 10, line=True),
    "gelu": Shape(_gelu, -5, 5, line=True),
    "gelu_tanh": Shape(_gelu_tanh, -5, 5, line=True),
    "hardswish": Shape(lambda x: x * np.clip(x / 6 + 0.5, 0, 1), -3, 3, line=True),
    "softplus": Shape(_softplus, -10, 10, line=True),
    "mish": Shape(lambda x: x * np.tanh(_softplus(x)), -10, 10, line=True),
    "elu": Shape(lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), -10, 0, line=True),
    "exp": Shape(np.exp, -16, 0),
    "reciprocal": Shape(lambda x: 1 / x, 0.5, 8),
}


class Smooth:
    """A function of `SHAPES` of F_TR(f)(x).

    Args:
        name: a key of `SHAPES`.
        f, m: as F_TR; m + f <= 31, -2^(m-1+f) <= x < 2^(m-1+f) - 2^f.
        scale_in: scale of the truncated argument (the tensor's scale minus f).
        scale_out: scale of the result; at least scale_in where the function ends in a straight line.
        limits: another range of the table, where arguments are known to be bounded.
    """

    def __init__(
        self,
        name: str,
        f: int,
        m: int,
        scale_in: int,
        scale_out: int,
        limits: tuple[float, float] | None = None,
    ) -> None:
        if name not in SHAPES:
            raise ValueError(f"no function {name!r}: there are {', '.join(sorted(SHAPES))}")
        shape, half = SHAPES[name], 1 << (m - 1)
        low, high = (round(end * 2.0**scale_in) for end in limits or (shape.low, shape.high))
        low, high = max(low, -half), min(high, half - 1)
        self.name, self.scale_in, self.scale_out = name, scale_in, scale_out
        self.function = shape.function
        self.table = Table.fit(shape.function, low, high, scale_in, scale_out)
        self.lut = Lut(f, m, self.table)
        self.line = ReLU(f, m + 1) if shape.line and high < half - 1 else None
        if self.line and scale_out < scale_in:
            raise ValueError(f"{name} needs an output scale of at least {scale_in}, not {scale_out}")

    @property
    def error(self) -> float:
        """Most that a result differs from the function at the truncated argument, inside and outside the table's range."""
        x = np.arange(self.table.low, self.table.high + 1)
        real = self.function(x / 2.0**self.scale_in)
        splits = (0, (1 << self.table.l) // 2, (1 << self.table.l) - 1)
        inside = max(np.abs(self.table.values(x, s) / 2.0**self.scale_out - real).max() for s in splits)
        return float(inside) + 2.0**-self.scale_out + self._cut()

    def _cut(self) -> float:
        """The most that the function still changes, against its continuation, beyond the table."""
        half = 1 << (self.lut.m - 1)
        below = np.linspace(-half, self.table.low, 1001) / 2.0**self.scale_in
        above = np.linspace(self.table.high, half, 1001) / 2.0**self.scale_in
        if self.name in ("exp", "reciprocal"):  # defined by the table's range
            return 0.0
        left = np.abs(self.function(below) - self.function(below[-1:])).max()
        go_on = above - above[0] if self.line else 0.0
        right = np.abs(self.function(above) - self.function(above[:1]) - go_on).max()
        return float(max(left, right))

    @property
    def units(self) -> int:
        """Most that a run differs from `values`, in units of the output."""
        return math.ceil(self.error * 2.0**self.scale_out + 0.5)

    def values(self, x: np.ndarray) -> np.ndarray:
        """The function itself in the clear: truncated arguments int64 to the nearest results int64."""
        clipped = np.clip(x, self.table.low, self.table.high)
        y = np.rint(self.function(clipped / 2.0**self.scale_in) * 2.0**self.scale_out).astype(np.int64)
        if self.line:
            y += np.maximum(x - self.table.high, 0) << (self.scale_out - self.scale_in)
        return y

    def draws(self, n: int) -> list[Draw]:
        """The correlations `run` consumes, in order."""
        out: list[Draw] = []
        for c in chunks(n, CHUNK):
            out += self.lut.chunk_draws(c.stop - c.start) + (
                self.line.draws(c.stop - c.start) if self.line else []
            )
        return out

    def run(self, session: Session, x: np.ndarray) -> np.ndarray:
        """A share `uint32` [n] to a share `uint32` [n] at scale_out."""
        ring_vector(x)
        start = np.uint32((self.table.high << self.lut.f) & 0xFFFFFFFF if session.party == 0 else 0)
        makers: list[Callable] = []
        for c in chunks(len(x), CHUNK):
            makers.append(lambda c=c: self.lut.flow(session, x[c]))
            if self.line:
                makers.append(lambda c=c, line=self.line: line.flow(session, x[c] - start))
        parts = drive(session, (make() for make in makers))
        if self.line:
            up = np.uint32(self.scale_out - self.scale_in)
            parts = [table + (line << up) for table, line in zip(parts[::2], parts[1::2], strict=True)]
        return np.concatenate([np.empty(0, np.uint32), *parts])


class LeakyReLU:
    """x for x >= 0, slope * x below: (slope * x + (1 - slope) * max(x, 0)), the slope rounded to `bits` fractional bits.

    The result's scale is the truncated argument's plus `bits`.  Valid inputs: signed F_EXT's,
    -2^(m-1+f) <= x < 2^(m-1+f) - 2^f with m + f <= 31, and |result| < 2^31.
    """

    def __init__(self, f: int, m: int, slope: float, bits: int = 8) -> None:
        self.slope, self.bits = round(slope * (1 << bits)), bits
        self.relu, self.whole = ReLU(f, m), TruncateExtend(f, m + 1)

    def draws(self, n: int) -> list[Draw]:
        """The correlations `run` consumes, in order."""
        return [d for part in (self.relu, self.whole) for d in part.draws(n)]

    def run(self, session: Session, x: np.ndarray) -> np.ndarray:
        """A share `uint32` [n] to a share `uint32` [n]."""
        positive, whole = self.relu.run(session, x), self.whole.run(session, x)
        return whole * np.uint32(self.slope & 0xFFFFFFFF) + positive * np.uint32(
            ((1 << self.bits) - self.slope) & 0xFFFFFFFF
        )
