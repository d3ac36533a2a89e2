"""The operations of the public plan, one small class a kind (docs/model-format.md).

A tensor lives as additive shares over Z_{2^32} between operations, shape (C, H, W) or (n,), at a public
power-of-two scale. Each class checks its own shapes, scales and bit widths against its inputs; nothing here
knows a weight. To add a kind: write its class and list it in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from .geometry import Padding, Pair
from .op import MAX_ELEMENTS, MAX_SCALE, Op, PlanError, Shape, window_output
from .ops_local import Add, Concat, Permute, Reshape, Slice, SumPool
from .ops_reduced import FUNCTIONS, Clip, LeakyRelu, Lut, MaxPool, ReducedOp, Relu, Trunc, smooth_table

__all__ = [
    "FUNCTIONS",
    "KINDS",
    "MAX_ELEMENTS",
    "MAX_SCALE",
    "Add",
    "Clip",
    "Concat",
    "Conv2d",
    "Input",
    "LeakyRelu",
    "Linear",
    "Lut",
    "MaxPool",
    "Op",
    "Output",
    "Permute",
    "PlanError",
    "ReducedOp",
    "Relu",
    "Reshape",
    "Slice",
    "SumPool",
    "Trunc",
    "WeightedOp",
    "op_from_json",
    "op_to_json",
    "smooth_table",
]


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
class Output(Op):
    """The reveal: the last operation, on untruncated logits (n,)."""

    kind: ClassVar[str] = "output"

    def check(self, sources: Sequence[Op]) -> None:
        self.require(len(self.shape) == 1, "logits must be a vector")
        self.require_output(sources[0].shape, sources[0].scale)


KINDS: dict[str, type[Op]] = {
    k.kind: k
    for k in (
        Input,
        Conv2d,
        Linear,
        Add,
        Concat,
        Reshape,
        Slice,
        Permute,
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
