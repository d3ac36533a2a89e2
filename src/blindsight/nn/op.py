"""What every operation of a plan has: its tensors, shape and scale, and the checks and errors that all share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from ..errors import OneLine
from .geometry import Padding, Pair, output_size

Shape = tuple[int, ...]
MAX_ELEMENTS = 1 << 24
MAX_SCALE = 62


class PlanError(OneLine, ValueError):
    """A plan or model file that cannot be used; the message names the fix."""


@dataclass(frozen=True, kw_only=True)
class Op:
    """One operation: reads `inputs`, writes the tensor `out` of `shape` at `scale` (number = value /
    2^scale).
    """

    kind: ClassVar[str]
    listed_inputs: ClassVar[bool] = False  # JSON `in` is a list rather than one name
    out: str
    inputs: tuple[str, ...]
    shape: Shape
    scale: int

    @property
    def size(self) -> int:
        """Number of elements of the output."""
        return math.prod(self.shape)

    def check(self, sources: Sequence[Op]) -> None:
        """Raise PlanError unless shape, scale and bit widths fit the operations that wrote the inputs."""
        raise NotImplementedError

    def fail(self, why: str) -> PlanError:
        return PlanError(f"operation {self.out!r} ({self.kind}): {why}")

    def require(self, holds: bool, why: str) -> None:
        if not holds:
            raise self.fail(why)

    def require_output(self, shape: Shape, scale: int) -> None:
        self.require(self.shape == shape, f"shape is {list(self.shape)}, its inputs give {list(shape)}")
        self.require(self.scale == scale, f"scale is {self.scale}, its inputs give {scale}")


class Windowed(Protocol):
    """An operation on windows of a picture."""

    @property
    def kernel(self) -> Pair: ...
    @property
    def stride(self) -> Pair: ...
    @property
    def padding(self) -> Padding: ...
    def require(self, holds: bool, why: str) -> None: ...
    def fail(self, why: str) -> PlanError: ...


def window_output(op: Windowed, source: Op) -> Pair:
    """Output rows and columns of a windowed operation, its parameters checked."""
    op.require(len(source.shape) == 3, "input must have shape [C, H, W]")
    op.require(
        min(op.kernel) >= 1 and min(op.stride) >= 1 and min(op.padding) >= 0,
        "kernel and stride must be positive, padding not negative",
    )
    try:
        return output_size(source.shape[1], source.shape[2], op.kernel, op.stride, op.padding)
    except ValueError as error:
        raise op.fail(str(error)) from None
