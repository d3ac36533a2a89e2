"""The operations of the public plan, one small class a kind (docs/model-format.md).

A tensor lives as additive shares over Z_{2^32} between operations, shape (C, H, W) or (n,), at a public
power-of-two scale. Each class checks its own shapes, scales and bit widths against its inputs; nothing here
knows a weight. To add a kind: write its class and list it in `KINDS`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, ClassVar

from blindsight.mpc.smooth import SHAPES, Smooth

from .geometry import Padding, Pair, output_size

Shape = tuple[int, ...]
MAX_ELEMENTS = 1 << 24
MAX_SCALE = 62
FUNCTIONS = tuple(name for name in SHAPES if name not in ("exp", "reciprocal"))  # defined on the whole line


class PlanError(ValueError):
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


@dataclass(frozen=True, kw_only=True)
class Input(Op):
    """Pixel values 0..255 at scale 0, (C, H, W)."""

    kind: ClassVar[str] = "input"

    def check(self, sources: Sequence[Op]) -> None:
        self.require(not sources and len(self.shape) == 3, "takes no input and has shape [C, H, W]")
        self.require(self.scale == 0, "pixels have scale 0")


@dataclass(frozen=True, kw_only=True)
class WeightedOp(Op):
    """A linear function with weights: the accumulator W * x + b mod 2^32, scale = in scale + weight_scale."""

    weight: str
    bias: str
    weight_bits: int
    weight_scale: int

    @property
    def weight_shape(self) -> Shape:
        raise NotImplementedError

    @property
    def bias_shape(self) -> Shape:
        raise NotImplementedError

    def check_weights(self, source: Op) -> None:
        self.require(2 <= self.weight_bits <= 16, "weight_bits must be 2..16")
        self.require(self.scale == source.scale + self.weight_scale, "scale must be in scale + weight_scale")


@dataclass(frozen=True, kw_only=True)
class Conv2d(WeightedOp):
    """Integer convolution (cross-correlation, as PyTorch) with zero padding; weight (C_out, C_in / groups, h,
    w).
    """

    kind: ClassVar[str] = "conv2d"
    in_channels: int = 0  # derived, not in the file: see `Plan`
    kernel: Pair
    stride: Pair
    padding: Padding
    groups: int
    bias_map: bool

    @property
    def weight_shape(self) -> Shape:
        return (self.shape[0], self.in_channels // self.groups, *self.kernel)

    @property
    def bias_shape(self) -> Shape:
        return self.shape if self.bias_map else self.shape[:1]

    def check(self, sources: Sequence[Op]) -> None:
        source = sources[0]
        self.check_weights(source)
        size = window_output(self, source)
        self.require(len(self.shape) == 3, "shape must be [C, H, W]")
        self.require(
            self.groups >= 1 and source.shape[0] % self.groups == 0 and self.shape[0] % self.groups == 0,
            f"groups = {self.groups} must divide the channels of input and output",
        )
        self.require_output((self.shape[0], *size), self.scale)


@dataclass(frozen=True, kw_only=True)
class Linear(WeightedOp):
    """Matrix times vector: weight (out, in), bias (out,)."""

    kind: ClassVar[str] = "linear"
    in_features: int = 0  # derived, not in the file: see `Plan`

    @property
    def weight_shape(self) -> Shape:
        return (self.shape[0], self.in_features)

    @property
    def bias_shape(self) -> Shape:
        return self.shape

    def check(self, sources: Sequence[Op]) -> None:
        self.require(len(sources[0].shape) == 1 and len(self.shape) == 1, "input and output must be vectors")
        self.check_weights(sources[0])


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
        self.require(-half <= self.low < self.high <= half, "low and high must fit m bits, low below high")
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


@dataclass(frozen=True, kw_only=True)
class Output(Op):
    """The reveal: the last operation, on untruncated logits (n,)."""

    kind: ClassVar[str] = "output"

    def check(self, sources: Sequence[Op]) -> None:
        self.require(len(self.shape) == 1, "logits must be a vector")
        self.require_output(sources[0].shape, sources[0].scale)


def window_output(op: Conv2d | SumPool | MaxPool, source: Op) -> Pair:
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


def check_shifts(op: Add | Concat, sources: Sequence[Op]) -> None:
    op.require(
        len(sources) >= 2 and len(op.shift) == len(sources), "needs two inputs or more and one shift for each"
    )
    for source, shift in zip(sources, op.shift, strict=True):
        op.require(0 <= shift <= 30, "shifts must be 0..30")
        op.require(source.scale + shift == op.scale, "each in scale + shift must be the scale")


KINDS: dict[str, type[Op]] = {
    k.kind: k
    for k in (
        Input,
        Conv2d,
        Linear,
        Add,
        Concat,
        Reshape,
        SumPool,
        Relu,
        Trunc,
        MaxPool,
        Clip,
        LeakyRelu,
        Lut,
        Output,
    )
}
DERIVED = ("in_channels", "in_features")


def op_to_json(op: Op) -> dict[str, Any]:
    """The JSON object of an operation, derived fields left out."""
    out: dict[str, Any] = {"op": op.kind}
    for field in fields(op):
        value = getattr(op, field.name)
        if field.name == "inputs":
            if value:
                out["in"] = list(value) if op.listed_inputs else value[0]
        elif field.name not in DERIVED:
            out[field.name] = list(value) if isinstance(value, tuple) else value
    return out


def op_from_json(item: Any) -> Op:
    """Build one operation from parsed JSON; every field must be there, of its type, and none besides."""
    if not isinstance(item, dict) or not isinstance(item.get("op"), str):
        raise PlanError("each entry of ops must be an object with a string `op`")
    kind = KINDS.get(item["op"])
    if kind is None:
        raise PlanError(f"unknown operation {item['op']!r}: made by a newer compiler? upgrade blindsight")
    wanted = {f.name: str(f.type) for f in fields(kind) if f.name not in DERIVED and f.name != "inputs"}
    expected = set(wanted) | {"op"} | (set() if kind is Input else {"in"})
    if set(item) != expected:
        odd = sorted(set(item) ^ expected)
        raise PlanError(f"operation {item.get('out')!r} ({kind.kind}): missing or unknown fields {odd}")
    source = item.get("in", [])
    names = source if kind.listed_inputs or kind is Input else [source]
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise PlanError(
            f"operation {item.get('out')!r} ({kind.kind}): `in` must be "
            f"{'a list of names' if kind.listed_inputs else 'one name'}"
        )
    return kind(inputs=tuple(names), **{n: _field(kind.kind, n, t, item[n]) for n, t in wanted.items()})


def _field(kind: str, name: str, annotation: str, value: Any) -> Any:
    """Check one JSON value against the annotation of its field; JSON true is no integer."""
    lengths = {"Pair": 2, "Padding": 4, "Shape": None, "tuple[int, ...]": None}
    if annotation in lengths:
        length = lengths[annotation]
        good = isinstance(value, list) and all(_is_int(v) for v in value) and length in (None, len(value))
        if good:
            return tuple(value)
    elif {"int": _is_int(value), "str": isinstance(value, str), "bool": isinstance(value, bool)}[annotation]:
        return value
    raise PlanError(f"operation of kind {kind}: field {name!r} has a value of the wrong type")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 31
