"""Operations that each party does on its own share alone: sums, windows, and moving elements about."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .geometry import Padding, Pair
from .op import Op, window_output


@dataclass(frozen=True, kw_only=True)
class Add(Op):
    """Sum of two or more tensors, each shifted left to the common scale; local."""

    kind: ClassVar[str] = "add"
    listed_inputs: ClassVar[bool] = True
    shift: tuple[int, ...]

    def check(self, sources: Sequence[Op]) -> None:
        check_shifts(self, sources)
        for source in sources:
            self.require_output(source.shape, self.scale)


@dataclass(frozen=True, kw_only=True)
class Concat(Op):
    """Tensors one after another along the first axis, each shifted left to the common scale; local."""

    kind: ClassVar[str] = "concat"
    listed_inputs: ClassVar[bool] = True
    shift: tuple[int, ...]

    def check(self, sources: Sequence[Op]) -> None:
        check_shifts(self, sources)
        self.require(len({s.shape[1:] for s in sources}) == 1, "inputs must agree but for the first axis")
        self.require_output((sum(s.shape[0] for s in sources), *sources[0].shape[1:]), self.scale)


@dataclass(frozen=True, kw_only=True)
class Reshape(Op):
    """The same elements in row-major order under another shape; local."""

    kind: ClassVar[str] = "reshape"

    def check(self, sources: Sequence[Op]) -> None:
        self.require(
            self.size == sources[0].size, f"cannot give {sources[0].size} elements {self.size} places"
        )
        self.require_output(self.shape, sources[0].scale)


@dataclass(frozen=True, kw_only=True)
class SumPool(Op):
    """Window sum (zero padding) times the public integer `factor`; local. Average pooling: factor / 2^p ~ 1 /
    k.
    """

    kind: ClassVar[str] = "sum_pool"
    kernel: Pair
    stride: Pair
    padding: Padding
    factor: int

    def check(self, sources: Sequence[Op]) -> None:
        size = window_output(self, sources[0])
        self.require(1 <= self.factor < 1 << 16, "factor must be 1..65535")
        self.require(self.scale >= sources[0].scale, "scale may not be below the input's")
        self.require_output((sources[0].shape[0], *size), self.scale)


@dataclass(frozen=True, kw_only=True)
class Slice(Op):
    """Along each axis the elements start, start + step, ..; those that lie outside the tensor are zero (padding)."""

    kind: ClassVar[str] = "slice"
    start: tuple[int, ...]
    step: tuple[int, ...]

    def check(self, sources: Sequence[Op]) -> None:
        axes = len(sources[0].shape)
        self.require(
            len(self.start) == len(self.step) == len(self.shape) == axes and min(self.step) >= 1,
            "needs a start and a positive step for each axis of the input",
        )
        self.require(all(abs(v) < 1 << 16 for v in (*self.start, *self.step)), "start or step out of range")
        self.require_output(self.shape, sources[0].scale)


@dataclass(frozen=True, kw_only=True)
class Permute(Op):
    """The elements in row-major order as an array of shape `view`, its axes in the order `axes`, then as `shape`."""

    kind: ClassVar[str] = "permute"
    view: tuple[int, ...]
    axes: tuple[int, ...]

    def check(self, sources: Sequence[Op]) -> None:
        self.require(
            1 <= len(self.view) <= 6
            and min(self.view) >= 1
            and sorted(self.axes) == list(range(len(self.view)))
            and math.prod(self.view) == sources[0].size == self.size,
            f"cannot view {sources[0].size} elements as {list(self.view)} with axes {list(self.axes)}",
        )
        self.require_output(self.shape, sources[0].scale)


def check_shifts(op: Add | Concat, sources: Sequence[Op]) -> None:
    op.require(
        len(sources) >= 2 and len(op.shift) == len(sources), "needs two inputs or more and one shift for each"
    )
    for source, shift in zip(sources, op.shift, strict=True):
        op.require(0 <= shift <= 30, "shifts must be 0..30")
        op.require(source.scale + shift == op.scale, "each in scale + shift must be the scale")
