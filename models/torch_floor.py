"""The plaintext floor: the float graph of a model, run by PyTorch. Benchmarks only; nothing else depends on it."""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from blindsight.nn.floatnet import FloatGraph, FloatOp

Array = Callable[[str], torch.Tensor]
Kernel = Callable[[FloatOp, list[torch.Tensor], Array], torch.Tensor]


def _padded(op: FloatOp, x: torch.Tensor, value: float) -> torch.Tensor:
    top, left, bottom, right = op.attrs["padding"]
    return F.pad(x, (left, right, top, bottom), value=value) if any(op.attrs["padding"]) else x


def _conv2d(op: FloatOp, x: list[torch.Tensor], array: Array) -> torch.Tensor:
    bias = array("bias")
    y = F.conv2d(
        _padded(op, x[0], 0.0),
        array("weight"),
        bias if bias.ndim == 1 else None,
        op.attrs["stride"],
        groups=op.attrs["groups"],
    )
    return y if bias.ndim == 1 else y + bias


def _max_pool(op: FloatOp, x: list[torch.Tensor], array: Array) -> torch.Tensor:
    return F.max_pool2d(_padded(op, x[0], -torch.inf), op.attrs["kernel"], op.attrs["stride"])


def _avg_pool(op: FloatOp, x: list[torch.Tensor], array: Array) -> torch.Tensor:
    y = F.avg_pool2d(_padded(op, x[0], 0.0), op.attrs["kernel"], op.attrs["stride"], divisor_override=1)
    return y / op.attrs["divisor"]


SMOOTH: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "hardsigmoid": F.hardsigmoid,
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "hardswish": F.hardswish,
    "mish": F.mish,
    "elu": F.elu,
    "softplus": F.softplus,
}


def _slice(op: FloatOp, x: list[torch.Tensor], _: Array) -> torch.Tensor:
    y = x[0]
    for axis, (start, step, count) in enumerate(
        zip(op.attrs["start"], op.attrs["step"], op.shape, strict=True), 1
    ):
        n = y.shape[axis]
        index = start + step * torch.arange(count)
        inside = (index >= 0) & (index < n)
        y = y.index_select(axis, index.clamp(0, n - 1))
        y = y * inside.to(y.dtype).view(-1, *(1,) * (y.ndim - 1 - axis))
    return y


def _permute(op: FloatOp, x: list[torch.Tensor], _: Array) -> torch.Tensor:
    y = x[0].reshape(len(x[0]), *op.attrs["view"])
    return y.permute(0, *(1 + a for a in op.attrs["axes"])).reshape(len(y), *op.shape)


KERNELS: dict[str, Kernel] = {
    "conv2d": _conv2d,
    "linear": lambda op, x, array: F.linear(x[0], array("weight"), array("bias")),
    "affine": lambda op, x, array: x[0] * array("factor") + array("offset"),
    "relu": lambda op, x, array: F.relu(x[0]),
    "clip": lambda op, x, _: torch.clamp(x[0], op.attrs["low"], op.attrs["high"]),
    "leaky_relu": lambda op, x, _: F.leaky_relu(x[0], op.attrs["slope"]),
    "smooth": lambda op, x, _: SMOOTH[op.attrs["function"]](x[0]),
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "add": lambda op, x, array: sum(x[1:], start=x[0]),
    "concat": lambda op, x, array: torch.cat(x, dim=1),
    "reshape": lambda op, x, array: x[0].reshape(len(x[0]), *op.shape),
    "slice": _slice,
    "permute": _permute,
}


class TorchFloor:
    """Forward pass of a float graph on tensors float32 (N, C, H, W), normalised inside."""

    def __init__(self, graph: FloatGraph) -> None:
        self._graph = graph
        self._arrays = {name: torch.from_numpy(np.array(value)) for name, value in graph.arrays.items()}
        self._mean = torch.tensor(graph.mean).view(-1, 1, 1)
        self._std = torch.tensor(graph.std).view(-1, 1, 1)

    @torch.inference_mode()
    def __call__(self, pictures: np.ndarray) -> torch.Tensor:
        """Logits float32 (N, classes) of uint8 pictures (N, H, W, C)."""
        x = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))).float() / 255
        values = {self._graph.ops[0].out: (x - self._mean) / self._std}
        for op in self._graph.ops[1:]:
            array = lambda name, op=op: self._arrays[op.tensors[name]]  # noqa: E731
            values[op.out] = KERNELS[op.op](op, [values[name] for name in op.inputs], array)
        return values[self._graph.ops[-1].out]


def seconds_per_image(graph: FloatGraph, images: np.ndarray, repeats: int = 5) -> float | None:
    """Median seconds of a forward pass of one picture; None for a graph with an operation not listed here."""
    if any(op.op not in KERNELS for op in graph.ops[1:]):
        return None
    floor, picture = TorchFloor(graph), (images if images.ndim == 4 else images[..., None])[:1]
    floor(picture)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        floor(picture)
        times.append(time.perf_counter() - start)
    return float(np.median(times))
