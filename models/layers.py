"""Linear layers, batch norm and elementwise functions: what each PyTorch layer means, one small function a kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from blindsight.nn.floatnet import FloatOp

from .builder import Builder, Sym, constant, conv_padding, operand, pair, picture, refuse, window_size


def conv2d(
    b: Builder,
    x: Sym,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Sym:
    picture(b, x)
    w = constant(b, weight)
    dv, dh = pair(dilation)
    if (dv, dh) != (1, 1):  # the same convolution with zeros between the taps
        wide = np.zeros((*w.shape[:2], (w.shape[2] - 1) * dv + 1, (w.shape[3] - 1) * dh + 1))
        wide[:, :, ::dv, ::dh] = w
        w = wide
    kernel = (w.shape[2], w.shape[3])
    pads = conv_padding(b, padding, kernel)
    if x.shape[1] != w.shape[1] * groups:
        raise b.fail(f"takes {w.shape[1] * groups} channels, gets {x.shape[1]}")
    attrs = {"kernel": kernel, "stride": pair(stride), "padding": pads, "groups": int(groups)}
    size = window_size(b, x, attrs)
    offset = np.zeros(w.shape[0]) if bias is None else constant(b, bias)
    return b.emit("conv2d", [x], (b.batch, w.shape[0], *size), attrs, {"weight": w, "bias": offset})


def linear(b: Builder, x: Sym, weight: Tensor, bias: Tensor | None = None) -> Sym:
    w = constant(b, weight)
    if len(x.shape) != 2:
        raise b.fail(f"a Linear on shape {['N', *x.shape[1:]]}: flatten the picture before it")
    if x.shape[1] != w.shape[1]:
        raise b.fail(f"takes {w.shape[1]} features, gets {x.shape[1]}")
    offset = np.zeros(w.shape[0]) if bias is None else constant(b, bias)
    return b.emit("linear", [x], (b.batch, w.shape[0]), {}, {"weight": w, "bias": offset})


def addmm(b: Builder, bias: Tensor, x: Sym, weight: Tensor) -> Sym:
    return linear(b, x, weight.t(), bias)


def batch_norm(
    b: Builder,
    x: Sym,
    mean: Tensor | None,
    var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Sym:
    if mean is None or var is None or training:
        raise b.fail("a batch norm without running statistics: train with track_running_stats=True")
    factor = 1 / np.sqrt(constant(b, var) + eps)
    if weight is not None:
        factor = factor * constant(b, weight)
    offset = -constant(b, mean) * factor
    if bias is not None:
        offset = offset + constant(b, bias)
    return affine(b, x, factor, offset)


def aten_batch_norm(
    b: Builder,
    x: Sym,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool = True,
) -> Sym:
    return batch_norm(b, x, mean, var, weight, bias, training, momentum, eps)


def convolution(
    b: Builder,
    x: Sym,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Sym:
    if transposed:
        raise refuse(f"operation {b.place!r} (a transposed convolution)", "ConvTranspose2d")
    return conv2d(b, x, weight, bias, stride, padding, dilation, groups)


# --- elementwise ---


def affine(b: Builder, x: Sym, factor: Any, offset: Any) -> Sym:
    """x * factor + offset; one-dimensional arrays run along the channels."""
    channels = (-1, *(1,) * (len(x.shape) - 2))
    arrays = {}
    for key, value in (("factor", factor), ("offset", offset)):
        v = np.asarray(value, np.float64)
        arrays[key] = v.reshape(channels) if v.ndim == 1 else v
    return b.emit("affine", [x], x.shape, {}, arrays)


def relu(b: Builder, x: Sym) -> Sym:
    return b.emit("relu", [x], x.shape)


def clamp(b: Builder, x: Sym, min: Any = None, max: Any = None) -> Sym:
    low, high = (None if v is None else constant(b, v) for v in (min, max))
    if any(v is not None and v.size != 1 for v in (low, high)):
        raise refuse(f"operation {b.place!r} (bounds that differ between elements)", "clamp")
    min, max = (None if v is None else float(v.reshape(())) for v in (low, high))
    if min is not None and max is not None:
        if not min < max:
            raise b.fail(f"a clamp between {min} and {max}: the lower bound must be the smaller")
        return b.emit("clip", [x], x.shape, {"low": float(min), "high": float(max)})
    if min is not None:
        return relu(b, x) if min == 0 else affine(b, relu(b, affine(b, x, 1.0, -min)), 1.0, min)
    if max is None:
        return x
    return affine(b, relu(b, affine(b, x, -1.0, max)), -1.0, max)


def hardtanh(b: Builder, x: Sym, min_val: float = -1.0, max_val: float = 1.0) -> Sym:
    return clamp(b, x, min_val, max_val)


def leaky_relu(b: Builder, x: Sym, negative_slope: float = 0.01) -> Sym:
    if not 0 <= negative_slope <= 1:
        return _two_slopes(b, x, np.asarray(float(negative_slope)))
    return b.emit("leaky_relu", [x], x.shape, {"slope": float(negative_slope)})


def prelu(b: Builder, x: Sym, weight: Tensor) -> Sym:
    """A slope is a weight: only one that all channels share, as a leaky ReLU's, stands in the plan."""
    slope = constant(b, weight).reshape(-1)
    if len(set(slope.tolist())) == 1:
        return leaky_relu(b, x, float(slope[0]))
    return _two_slopes(b, x, slope)


def _two_slopes(b: Builder, x: Sym, slope: np.ndarray) -> Sym:
    """slope x + (1 - slope) max(x, 0), the two products linear layers of the network's own."""
    return add(b, affine(b, x, slope, 0.0), affine(b, relu(b, x), 1 - slope, 0.0))


def function(name: str) -> Callable[[Builder, Sym], Sym]:
    """The handler of a function of `mpc.smooth` that takes no options."""
    return lambda b, x: b.emit("smooth", [x], x.shape, {"function": name})


def gelu(b: Builder, x: Sym, approximate: str = "none") -> Sym:
    return function("gelu_tanh" if approximate == "tanh" else "gelu")(b, x)


def elu(b: Builder, x: Sym, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Sym:
    """scale (x or alpha (e^(input_scale x) - 1)); SELU and CELU are of this form."""
    inner = x if input_scale == 1 else affine(b, x, input_scale, 0.0)
    curve = function("elu")(b, inner)
    if alpha * input_scale == 1 == scale * alpha:
        return curve
    bent = affine(b, curve, scale * alpha, 0.0)
    rest = scale * (1 - alpha * input_scale)
    return bent if abs(rest) < 1e-9 else add(b, bent, affine(b, relu(b, x), rest, 0.0))


def selu(b: Builder, x: Sym) -> Sym:
    return elu(b, x, 1.6732632423543772, 1.0507009873554805)


def celu(b: Builder, x: Sym, alpha: float = 1.0) -> Sym:
    return elu(b, x, alpha, 1.0, 1 / alpha)


def softplus(b: Builder, x: Sym, beta: float = 1.0, threshold: float = 20.0) -> Sym:
    if threshold < 10:
        raise b.fail(f"softplus with threshold={threshold}: use its default, 20")
    if beta == 1:
        return function("softplus")(b, x)
    return affine(b, function("softplus")(b, affine(b, x, beta, 0.0)), 1 / beta, 0.0)


def log_sigmoid(b: Builder, x: Sym) -> Sym:
    return affine(b, function("softplus")(b, affine(b, x, -1.0, 0.0)), -1.0, 0.0)


def maximum(b: Builder, x: Any, y: Any) -> Sym:
    if isinstance(x, Sym) and isinstance(y, Sym):
        return add(b, y, relu(b, sub(b, x, y)))
    return clamp(b, *((x, y) if isinstance(x, Sym) else (y, x)))


def minimum(b: Builder, x: Any, y: Any) -> Sym:
    if isinstance(x, Sym) and isinstance(y, Sym):
        return sub(b, x, relu(b, sub(b, x, y)))
    s, bound = (x, y) if isinstance(x, Sym) else (y, x)
    return clamp(b, s, None, bound)


def absolute(b: Builder, x: Sym) -> Sym:
    return sub(b, affine(b, relu(b, x), 2.0, 0.0), x)


def add(b: Builder, x: Any, y: Any, alpha: float = 1) -> Sym:
    if isinstance(x, Sym) and isinstance(y, Sym):
        if x.shape != y.shape:
            raise b.fail(f"adds shapes {list(x.shape[1:])} and {list(y.shape[1:])}: they must be the same")
        return b.emit("add", [x, y if alpha == 1 else affine(b, y, alpha, 0.0)], x.shape)
    if isinstance(x, Sym):
        return affine(b, x, 1.0, alpha * operand(b, x, y))
    return affine(b, y, alpha, operand(b, y, x))


def sub(b: Builder, x: Any, y: Any, alpha: float = 1) -> Sym:
    return add(b, x, y, -alpha)


def rsub(b: Builder, x: Any, y: Any, alpha: float = 1) -> Sym:
    return add(b, y, x, -alpha)


def mul(b: Builder, x: Any, y: Any) -> Sym:
    if isinstance(x, Sym) and isinstance(y, Sym):
        gated = _gate(b, x, y) or _gate(b, y, x)
        if gated is None:
            raise refuse(f"operation {b.place!r} (the product of two activations)", "mul")
        return gated
    s, c = (x, y) if isinstance(x, Sym) else (y, x)
    return affine(b, s, operand(b, s, c), 0.0)


def _gate(b: Builder, x: Sym, gate: Sym) -> Sym | None:
    """x times a function of x that spells a known one: SiLU (also of a scaled argument), Hardswish, Mish."""
    outer, made = _scalar(b, gate.name)
    if made.op == "clip" and made.attrs == {"low": 0.0, "high": 6.0}:
        inner, source = _scalar(b, made.inputs[0])
        if source.out == x.name and inner == (1.0, 3.0) and outer[1] == 0:
            return affine(b, function("hardswish")(b, x), 6 * outer[0], 0.0)
        return None
    if made.op != "smooth" or outer != (1.0, 0.0):
        return None
    inner, source = _scalar(b, made.inputs[0])
    if made.attrs["function"] == "sigmoid" and source.out == x.name and inner[0] > 0 and inner[1] == 0:
        scaled = x if inner[0] == 1 else affine(b, x, inner[0], 0.0)
        return affine(b, function("silu")(b, scaled), 1 / inner[0], 0.0)
    if made.attrs["function"] == "hardsigmoid" and source.out == x.name and inner == (1.0, 0.0):
        return function("hardswish")(b, x)
    softplus_of_x = source.attrs.get("function") == "softplus" and source.inputs == (x.name,)
    if made.attrs["function"] == "tanh" and softplus_of_x and inner == (1.0, 0.0):
        return function("mish")(b, x)
    return None


def _scalar(b: Builder, name: str) -> tuple[tuple[float, float], FloatOp]:
    """(factor, offset) of the affines of plain numbers that end in this tensor, and the operation before them."""
    factor, offset = 1.0, 0.0
    op = next(o for o in b.ops if o.out == name)
    while op.op == "affine" and all(b.arrays[op.tensors[k]].size == 1 for k in ("factor", "offset")):
        own, shift = (float(b.arrays[op.tensors[k]].reshape(())) for k in ("factor", "offset"))
        factor, offset = factor * own, factor * shift + offset
        op = next(o for o in b.ops if o.out == op.inputs[0])
    return (factor, offset), op


def matmul(b: Builder, x: Any, weight: Any) -> Sym:
    if not isinstance(x, Sym) or isinstance(weight, Sym) or weight.ndim != 2:
        raise refuse(f"operation {b.place!r} (a matrix product of activations)", "matmul")
    return linear(b, x, weight.t())


def div(b: Builder, x: Any, y: Any) -> Sym:
    if not isinstance(x, Sym) or isinstance(y, Sym):
        raise refuse(f"operation {b.place!r} (division by an activation)", "mul")
    return affine(b, x, 1 / operand(b, x, y), 0.0)


def neg(b: Builder, x: Sym) -> Sym:
    return affine(b, x, -1.0, 0.0)
