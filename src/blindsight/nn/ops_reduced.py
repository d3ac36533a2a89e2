"""Operations that begin with a truncation, F_TR(f) to m bits: the non-linear functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from blindsight.mpc.smooth import SHAPES, Smooth

from .geometry import Padding, Pair
from .op import Op, window_output

FUNCTIONS = tuple(name for name in SHAPES if name not in ("exp", "reciprocal"))  # defined on the whole line


@dataclass(frozen=True, kw_only=True)
class ReducedOp(Op):
    """An operation that first applies F_TR(f), to m bits: the scale falls by f."""

    most: ClassVar[int] = 16  # bits m may have
    f: int
    m: int

    def check(self, sources: Sequence[Op]) -> None:
        self.check_widths()
        self.require(self.scale == sources[0].scale - self.f, "scale must be in scale - f")

    def check_widths(self) -> None:
        self.require(
            self.f >= 0 and 2 <= self.m <= self.most and self.m + self.f <= 31,
            f"f = {self.f}, m = {self.m}: m must be 2..{self.most} and m + f at most 31",
        )


@dataclass(frozen=True, kw_only=True)
class Relu(ReducedOp):
    """F_TR(f) to m bits, ReLU, zero-extension to 32."""

    kind: ClassVar[str] = "relu"

    def check(self, sources: Sequence[Op]) -> None:
        super().check(sources)
        self.require_output(sources[0].shape, self.scale)


@dataclass(frozen=True, kw_only=True)
class Trunc(ReducedOp):
    """F_TR(f) to m bits, signed extension to 32."""

    kind: ClassVar[str] = "trunc"

    def check(self, sources: Sequence[Op]) -> None:
        super().check(sources)
        self.require_output(sources[0].shape, self.scale)


@dataclass(frozen=True, kw_only=True)
class MaxPool(ReducedOp):
    """F_TR(f) to m + 1 bits, tournament, to m bits, then ReLU and zero-extension (`relu`) or signed
    extension.
    """

    kind: ClassVar[str] = "max_pool"
    kernel: Pair
    stride: Pair
    padding: Padding
    relu: bool

    def check(self, sources: Sequence[Op]) -> None:
        super().check(sources)
        size = window_output(self, sources[0])
        top, left, bottom, right = self.padding
        self.require(
            max(top, bottom) < self.kernel[0] and max(left, right) < self.kernel[1],
            "padding must be smaller than the kernel",
        )
        self.require_output((sources[0].shape[0], *size), self.scale)


@dataclass(frozen=True, kw_only=True)
class Clip(ReducedOp):
    """F_TR(f), then min(max(x, low), high), integers at the truncated scale; ReLU6 is one."""

    kind: ClassVar[str] = "clip"
    most: ClassVar[int] = 28
    low: int
    high: int

    def check(self, sources: Sequence[Op]) -> None:
        super().check(sources)
        half = 1 << (self.m - 1)
        self.require(
            -half <= self.low < self.high <= half and self.high - self.low < 2 * half,
            "low and high must fit m bits, low below high, less than 2^m apart",
        )
        self.require_output(sources[0].shape, self.scale)


@dataclass(frozen=True, kw_only=True)
class LeakyRelu(ReducedOp):
    """F_TR(f) to m bits, then x or x * slope / 2^bits, exact at `bits` more fractional bits."""

    kind: ClassVar[str] = "leaky_relu"
    slope: int
    bits: int

    def check(self, sources: Sequence[Op]) -> None:
        self.check_widths()
        self.require(
            1 <= self.bits <= 12 and 0 <= self.slope <= 1 << self.bits, "slope must be 0..2^bits, bits 1..12"
        )
        self.require(self.m + self.bits <= 29, "m + bits must be at most 29")
        self.require_output(sources[0].shape, sources[0].scale - self.f + self.bits)


@dataclass(frozen=True, kw_only=True)
class Lut(ReducedOp):
    """F_TR(f), then a named real function by a table of lines (`mpc.smooth`), at the scale of the output."""

    kind: ClassVar[str] = "lut"
    most: ClassVar[int] = 28
    function: str

    def check(self, sources: Sequence[Op]) -> None:
        self.check_widths()
        self.require(self.function in FUNCTIONS, f"no function {self.function!r}: upgrade blindsight")
        self.require_output(sources[0].shape, self.scale)
        try:
            self.table(sources[0])
        except ValueError as error:
            raise self.fail(str(error)) from None

    def table(self, source: Op) -> Smooth:
        """The functionality on the output of `source`."""
        return smooth_table(self.function, self.f, self.m, source.scale - self.f, self.scale)


@lru_cache(maxsize=256)
def smooth_table(function: str, f: int, m: int, scale_in: int, scale_out: int) -> Smooth:
    """`Smooth`, made once for each set of numbers."""
    return Smooth(function, f, m, scale_in, scale_out)
