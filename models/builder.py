"""The float graph under construction, the errors of the compiler, and helpers that all layers share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Any

import numpy as np

from blindsight.nn.floatnet import FloatOp
from blindsight.nn.geometry import output_size


class CompileError(ValueError):
    """The network cannot be compiled; the message names the layer and what to do."""


@dataclass(frozen=True)
class Sym:
    """A tensor of the network: its name in the graph and its shape, the batch first."""

    name: str
    shape: tuple[int, ...]


@dataclass
class Builder:
    """The float graph under construction. `place` names the layer being read, for errors and tensor names."""

    batch: int
    ops: list[FloatOp] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    place: str = "input"
    heads: list[str] = field(default_factory=list)

    def emit(
        self,
        op: str,
        inputs: Sequence[Sym],
        shape: Sequence[int],
        attrs: dict[str, Any] | None = None,
        arrays: dict[str, Any] | None = None,
        name: str | None = None,
    ) -> Sym:
        """Append one operation; `shape` includes the batch."""
        out = self._fresh(name or self.place)
        tensors = {}
        for key, value in (arrays or {}).items():
            tensors[key] = f"{out}.{key}"
            self.arrays[tensors[key]] = np.asarray(value, np.float64)
        inner = tuple(int(n) for n in shape[1:])
        self.ops.append(FloatOp(op, out, tuple(s.name for s in inputs), inner, attrs or {}, tensors))
        return Sym(out, (self.batch, *inner))

    def head(self, name: str, x: Sym) -> Sym:
        """A softmax that ends the network: left to the reveal, which keeps the order of the classes."""
        self.heads.append(name)
        return x

    def fail(self, why: str) -> CompileError:
        return CompileError(f"layer {self.place!r}: {why}")

    def _fresh(self, name: str) -> str:
        base = re.sub(r"[^A-Za-z0-9_.]", "_", name)[:100] or "t"
        taken = {op.out for op in self.ops}
        return next(n for n in chain([base], (f"{base}_{i}" for i in count(1))) if n not in taken)


REMEDIES = {
    "use ReLU instead and train again": "GLU glu Softsign softsign Hardshrink Softshrink clamp clip exp sqrt",
    "use BatchNorm2d instead and train again": "GroupNorm group_norm LayerNorm layer_norm InstanceNorm2d instance_norm "
    "LocalResponseNorm local_response_norm",
    "return the logits and choose --reveal probabilities": "Softmax softmax LogSoftmax log_softmax",
    "use a stride or a pool, or a convolution of known size": "Upsample interpolate ConvTranspose2d conv_transpose2d "
    "upsample_nearest2d",
    "multiply by constants only, leave squeeze-and-excitation, gates and attention out and train again": "mul matmul "
    "bmm einsum scaled_dot_product_attention MultiheadAttention",
}
MONOTONIC_HEADS = {"Softmax", "softmax", "LogSoftmax", "log_softmax"}
SUPPORTED = (
    "Conv2d, Linear, BatchNorm, ReLU, ReLU6, Hardtanh, LeakyReLU, Tanh, Sigmoid, Hardsigmoid, SiLU, GELU, Hardswish, Mish, ELU, "
    "Softplus, SELU, CELU, PReLU, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, mean over space, Flatten, view, Dropout, "
    "Identity, addition, maximum, minimum, abs, concatenation, slices, permute, zero padding, scaling by constants"
)


def refuse(what: str, name: str) -> CompileError:
    """The error for a kind that is not in the tables."""
    advice = next((a for a, names in REMEDIES.items() if name in names.split()), "replace or remove it")
    return CompileError(f"{what} is not supported: {advice} (supported: {SUPPORTED})")


def constant(b: Builder, value: Any) -> np.ndarray:
    if isinstance(value, Sym):
        raise b.fail("takes an activation where a weight belongs")
    tensor = hasattr(value, "detach")  # of PyTorch, which this module does without
    array = np.asarray(value.detach().double().numpy() if tensor else value, np.float64)
    if not np.isfinite(array).all():
        raise b.fail("a weight is not a finite number: train it again")
    return array


def operand(b: Builder, x: Sym, value: Any) -> np.ndarray:
    """A constant that is added to or multiplied with x, its batch dimension taken off."""
    v = constant(b, value)
    if v.ndim == len(x.shape):
        if v.shape[0] != 1:
            raise b.fail("a constant with a batch dimension other than 1: leave that dimension out")
        v = v[0]
    elif v.ndim == 1:  # along the last axis; `affine` takes plain vectors for channels
        v = v.reshape(*(1,) * (len(x.shape) - 2), -1)
    try:
        fits = np.broadcast_shapes(v.shape, x.shape[1:]) == x.shape[1:]
    except ValueError:
        fits = False
    if not fits:
        raise b.fail(f"a constant of shape {list(v.shape)} does not fit {list(x.shape[1:])}")
    return v


def picture(b: Builder, x: Sym) -> None:
    if len(x.shape) != 4:
        raise b.fail(f"takes pictures [N, C, H, W], gets {['N', *x.shape[1:]]}")


def pair(value: Any) -> tuple[int, int]:
    if isinstance(value, tuple | list):
        return (int(value[0]), int(value[-1]))
    return (int(value), int(value))


def conv_padding(b: Builder, padding: Any, kernel: tuple[int, int]) -> tuple[int, int, int, int]:
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise b.fail(f"padding {padding!r} is not supported: use a number")
        extra = [k - 1 if padding == "same" else 0 for k in kernel]
        return (extra[0] // 2, extra[1] // 2, extra[0] - extra[0] // 2, extra[1] - extra[1] // 2)
    v, h = pair(padding)
    return (v, h, v, h)


def window_size(b: Builder, x: Sym, attrs: dict[str, Any]) -> tuple[int, int]:
    try:
        return output_size(x.shape[2], x.shape[3], attrs["kernel"], attrs["stride"], attrs["padding"])
    except ValueError as error:
        raise b.fail(f"{error}: the picture is too small for this network") from None


def pool_window(
    b: Builder, x: Sym, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool
) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Output shape and window of a pool; ceil_mode becomes padding below and right."""
    picture(b, x)
    kernel, pads = pair(kernel_size), pair(padding)
    steps = kernel if stride is None or stride == [] else pair(stride)
    extra = [0, 0]
    if ceil_mode:
        for i in (0, 1):
            room = x.shape[2 + i] + 2 * pads[i] - kernel[i]
            last = -(-room // steps[i])
            if last * steps[i] >= x.shape[2 + i] + pads[i]:
                last -= 1
            extra[i] = max(0, last * steps[i] - room)
    attrs = {
        "kernel": kernel,
        "stride": steps,
        "padding": (pads[0], pads[1], pads[0] + extra[0], pads[1] + extra[1]),
    }
    return (*x.shape[:2], *window_size(b, x, attrs)), attrs


def adaptive_size(x: Sym, output_size: Any) -> tuple[int, int]:
    sizes = output_size if isinstance(output_size, tuple | list) else (output_size, output_size)
    v, h = (x.shape[2 + i] if n is None else int(n) for i, n in enumerate(sizes))
    return v, h


def adaptive_matrix(n: int, o: int) -> np.ndarray:
    """PyTorch's adaptive windows along one axis: row i averages floor(i n / o) to ceil((i + 1) n / o)."""
    matrix = np.zeros((o, n))
    for i in range(o):
        start, stop = i * n // o, -(-(i + 1) * n // o)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix
