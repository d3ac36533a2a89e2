"""The float reference of a model: the graph held in `.bsm`, and its forward pass in numpy alone.

It gives the labels that the secure run is compared with (`agreement`), without PyTorch. Batch norms are
folded into the convolutions before them; the input normalisation is the first operation. Tests hold it
against PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from blindsight.mpc.smooth import SHAPES

from . import kernels
from .geometry import output_size
from .ops import FUNCTIONS, PlanError

Shape = tuple[int, ...]
Tap = Callable[[str, np.ndarray], None]
UNFOLDED = 1 << 29


@dataclass(frozen=True)
class FloatOp:
    """One operation: `attrs` are its public numbers, `tensors` name its arrays in the graph."""

    op: str
    out: str
    inputs: tuple[str, ...]
    shape: Shape
    attrs: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, str] = field(default_factory=dict)


@dataclass
class FloatGraph:
    """Operations in order, the arrays they name, and the input normalisation (x / 255 - mean) / std."""

    ops: list[FloatOp]
    arrays: Mapping[str, np.ndarray]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def consumers(self, name: str) -> list[FloatOp]:
        return [op for op in self.ops if name in op.inputs]

    def by_name(self) -> dict[str, FloatOp]:
        return {op.out: op for op in self.ops}

    def array(self, op: FloatOp, name: str) -> np.ndarray:
        return self.arrays[op.tensors[name]]

    def array_shape(self, op: FloatOp, name: str) -> Shape:
        """The shape of `array`, which arrays made when read (`nn.compact`) tell without being made."""
        shape_of = getattr(self.arrays, "shape_of", None)
        return shape_of(op.tensors[name]) if shape_of else self.array(op, name).shape

    def to_json(self) -> dict[str, Any]:
        ops = [
            {
                "op": o.op,
                "out": o.out,
                "in": list(o.inputs),
                "shape": list(o.shape),
                "attrs": {k: list(v) if isinstance(v, tuple) else v for k, v in o.attrs.items()},
                "tensors": o.tensors,
            }
            for o in self.ops
        ]
        return {"mean": list(self.mean), "std": list(self.std), "ops": ops}

    @staticmethod
    def from_json(item: Any, arrays: Mapping[str, np.ndarray]) -> FloatGraph:
        """Build and check the graph: kinds, order, shapes and arrays; PlanError names what does not fit."""
        try:
            ops = [
                FloatOp(
                    str(o["op"]),
                    str(o["out"]),
                    tuple(str(i) for i in o["in"]),
                    tuple(int(n) for n in o["shape"]),
                    {str(k): tuple(v) if isinstance(v, list) else v for k, v in o["attrs"].items()},
                    {str(k): str(v) for k, v in o["tensors"].items()},
                )
                for o in item["ops"]
            ]
            mean, std = (tuple(float(v) for v in item[key]) for key in ("mean", "std"))
            graph = FloatGraph(ops, arrays, mean, std)
            _check(graph)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            if isinstance(error, PlanError):
                raise
            raise PlanError(f"the float graph is damaged ({error!r}): compile the model again") from None
        return graph


def forward(graph: FloatGraph, x: np.ndarray, tap: Tap | None = None, batch: int = 64) -> np.ndarray:
    """Logits float32 (N, classes) of pictures x: uint8 (N, H, W, C). `tap(name, values)` sees every tensor.

    At most `batch` pictures are run at once, fewer where their unfolded inputs would take more than UNFOLDED bytes.
    """
    if x.dtype != np.uint8 or x.ndim != 4:
        raise ValueError(f"pictures must be uint8 (N, H, W, C), not {x.dtype} {x.shape}")
    shape = graph.ops[0].shape
    if (x.shape[3], *x.shape[1:3]) != shape:
        raise ValueError(f"pictures are {x.shape[1:]}, the network takes {(*shape[1:], shape[0])}")
    batch = max(1, min(batch, UNFOLDED // max(_unfolded(graph), 1)))
    parts = [_forward(graph, x[i : i + batch], tap) for i in range(0, len(x), batch)]
    return np.concatenate(parts) if parts else np.zeros((0, *graph.ops[-1].shape), np.float32)


def _unfolded(graph: FloatGraph) -> int:
    """Bytes of the largest unfolded input of a convolution, for one picture."""
    return max(
        (
            4 * math.prod(graph.array_shape(op, "weight")[1:]) * op.attrs["groups"] * math.prod(op.shape[1:])
            for op in graph.ops
            if op.op == "conv2d"
        ),
        default=0,
    )


def _forward(graph: FloatGraph, x: np.ndarray, tap: Tap | None) -> np.ndarray:
    mean = np.asarray(graph.mean, np.float32)[:, None, None]
    std = np.asarray(graph.std, np.float32)[:, None, None]
    values = {graph.ops[0].out: (x.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255) - mean) / std}
    last = {name: i for i, op in enumerate(graph.ops) for name in op.inputs}
    if tap:
        tap(graph.ops[0].out, values[graph.ops[0].out])
    for i, op in enumerate(graph.ops[1:], 1):
        y = KERNELS[op.op](graph, op, [values[name] for name in op.inputs])
        values[op.out] = y
        if tap:
            tap(op.out, y)
        for name in op.inputs:
            if last[name] == i:
                values.pop(name, None)
    return values[graph.ops[-1].out]


Kernel = Callable[[FloatGraph, FloatOp, list[np.ndarray]], np.ndarray]


def _conv2d(graph: FloatGraph, op: FloatOp, x: list[np.ndarray]) -> np.ndarray:
    a = op.attrs
    y = kernels.conv2d(x[0], graph.array(op, "weight"), a["stride"], a["padding"], a["groups"])
    bias = graph.array(op, "bias")
    return y + (bias if bias.ndim == 3 else bias.reshape(-1, 1, 1))


def _linear(graph: FloatGraph, op: FloatOp, x: list[np.ndarray]) -> np.ndarray:
    return x[0] @ graph.array(op, "weight").T + graph.array(op, "bias")


def _affine(graph: FloatGraph, op: FloatOp, x: list[np.ndarray]) -> np.ndarray:
    return x[0] * graph.array(op, "factor") + graph.array(op, "offset")


def _max_pool(_: FloatGraph, op: FloatOp, x: list[np.ndarray]) -> np.ndarray:
    return kernels.max_pool(x[0], op.attrs["kernel"], op.attrs["stride"], op.attrs["padding"])


def _avg_pool(_: FloatGraph, op: FloatOp, x: list[np.ndarray]) -> np.ndarray:
    y = kernels.sum_pool(x[0], op.attrs["kernel"], op.attrs["stride"], op.attrs["padding"])
    return y / np.float32(op.attrs["divisor"])


def _smooth(_: FloatGraph, op: FloatOp, x: list[np.ndarray]) -> np.ndarray:
    return SHAPES[op.attrs["function"]].function(x[0].astype(np.float64)).astype(np.float32)


KERNELS: dict[str, Kernel] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "affine": _affine,
    "relu": lambda _, __, x: np.maximum(x[0], np.float32(0)),
    "clip": lambda _, op, x: np.clip(x[0], np.float32(op.attrs["low"]), np.float32(op.attrs["high"])),
    "leaky_relu": lambda _, op, x: np.where(x[0] >= 0, x[0], x[0] * np.float32(op.attrs["slope"])),
    "smooth": _smooth,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "add": lambda _, __, x: sum(x[1:], start=x[0]),
    "concat": lambda _, __, x: np.concatenate(x, axis=1),
    "reshape": lambda _, op, x: x[0].reshape(len(x[0]), *op.shape),
    "slice": lambda _, op, x: kernels.slices(x[0], op.attrs["start"], op.attrs["step"], op.shape),
    "permute": lambda _, op, x: kernels.permute(x[0], op.attrs["view"], op.attrs["axes"], op.shape),
}
ANY = -1  # numbers of a tuple: as many as there are axes
ATTRS = {
    "conv2d": {"kernel": 2, "stride": 2, "padding": 4, "groups": 0},
    "max_pool": {"kernel": 2, "stride": 2, "padding": 4},
    "avg_pool": {"kernel": 2, "stride": 2, "padding": 4, "divisor": 0},
    "slice": {"start": ANY, "step": ANY},
    "permute": {"view": ANY, "axes": ANY},
}
LEAST = {"padding": 0, "axes": 0, "start": -(1 << 16)}  # of a number; 1 otherwise
NUMBERS = {"clip": {"low", "high"}, "leaky_relu": {"slope"}}  # finite, any sign
NAMES = {"smooth": {"function": FUNCTIONS}}
TENSORS = {
    "conv2d": {"weight", "bias"},
    "linear": {"weight", "bias"},
    "affine": {"factor", "offset"},
}


def _check(graph: FloatGraph) -> None:
    def require(holds: bool, why: str) -> None:
        if not holds:
            raise PlanError(f"the float graph is damaged ({why}): compile the model again")

    require(len(graph.ops) >= 1 and graph.ops[0].op == "input", "no input")
    require(len(graph.ops[0].shape) == 3 and not graph.ops[0].inputs, "odd input")
    require(len(graph.mean) == len(graph.std) == graph.ops[0].shape[0], "mean or std")
    require(all(s > 0 for s in graph.std), "std must be positive")
    made: dict[str, Shape] = {graph.ops[0].out: graph.ops[0].shape}
    for op in graph.ops[1:]:
        require(op.op in KERNELS, f"unknown operation {op.op!r}")
        require(
            bool(op.inputs) and all(i in made for i in op.inputs) and op.out not in made, f"order at {op.out}"
        )
        want, real, named = ATTRS.get(op.op, {}), NUMBERS.get(op.op, set()), NAMES.get(op.op, {})
        require(set(op.attrs) == set(want) | real | set(named), f"attributes of {op.out}")
        require(all(type(op.attrs[n]) in (int, float) for n in real), f"numbers of {op.out}")
        require(all(abs(op.attrs[n]) < 2.0**31 for n in real), f"numbers of {op.out}")
        require(all(op.attrs[n] in names for n, names in named.items()), f"function of {op.out}")
        for name, length in want.items():
            value = op.attrs[name]
            numbers = value if length else (value,)
            require(
                isinstance(value, tuple) == bool(length)
                and len(numbers) in (range(1, 7) if length == ANY else (length or 1,)),
                f"{name} of {op.out}",
            )
            low = LEAST.get(name, 1)
            require(all(type(v) is int and low <= v < 1 << 24 for v in numbers), f"{name} of {op.out}")
        require(set(op.tensors) == TENSORS.get(op.op, set()), f"tensors of {op.out}")
        require(all(t in graph.arrays for t in op.tensors.values()), f"missing array of {op.out}")
        shapes = [made[i] for i in op.inputs]
        require(op.shape == _shape(graph, op, shapes), f"shape of {op.out}")
        made[op.out] = op.shape
    require(len(graph.ops[-1].shape) == 1, "logits must be a vector")


def _shape(graph: FloatGraph, op: FloatOp, shapes: list[Shape]) -> Shape:
    """The output shape that the inputs give; PlanError or ValueError where they do not fit."""
    first, a = shapes[0], op.attrs
    if op.op in ("conv2d", "max_pool", "avg_pool"):
        size = output_size(first[1], first[2], a["kernel"], a["stride"], a["padding"])
        if op.op != "conv2d":
            return (first[0], *size)
        weight, bias = graph.array_shape(op, "weight"), graph.array_shape(op, "bias")
        made = (weight[0], *size)
        if weight[1:] != (first[0] // a["groups"], *a["kernel"]) or bias not in (made[:1], made):
            raise ValueError(f"weights of {op.out}")
        return made
    if op.op == "linear":
        weight, bias = graph.array_shape(op, "weight"), graph.array_shape(op, "bias")
        if weight != (*bias, *first):
            raise ValueError(f"weights of {op.out}")
        return bias
    if op.op == "add":
        if any(s != first for s in shapes):
            raise ValueError(f"inputs of {op.out}")
        return first
    if op.op == "concat":
        if any(s[1:] != first[1:] for s in shapes):
            raise ValueError(f"inputs of {op.out}")
        return (sum(s[0] for s in shapes), *first[1:])
    if op.op == "reshape":
        if np.prod(op.shape) != np.prod(first):
            raise ValueError(f"shape of {op.out}")
        return op.shape
    if op.op == "slice":
        if not len(first) == len(op.shape) == len(a["start"]) == len(a["step"]):
            raise ValueError(f"axes of {op.out}")
        return op.shape
    if op.op == "permute":
        axes = sorted(a["axes"]) == list(range(len(a["view"])))
        if not axes or not np.prod(op.shape) == np.prod(first) == np.prod(a["view"]):
            raise ValueError(f"shape of {op.out}")
        return op.shape
    if op.op == "affine" and any(
        np.broadcast_shapes(first, graph.array_shape(op, n)) != first for n in ("factor", "offset")
    ):
        raise ValueError(f"arrays of {op.out}")
    return first
