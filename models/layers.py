"""Linear layers, batch norm and elementwise functions: what each PyTorch layer means, one small function a kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

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
    arrays = {}
    for key, value in (("factor", factor), ("offset", offset)):
        v = np.asarray(value, np.float64)
        if v.ndim == 1 and len(x.shape) == 4:
            v = v.reshape(-1, 1, 1)
        arrays[key] = v
    return b.emit("affine", [x], x.shape, {}, arrays)


def relu(b: Builder, x: Sym) -> Sym:
    return b.emit("relu", [x], x.shape)


def clamp(b: Builder, x: Sym, min: Any = None, max: Any = None) -> Sym:
    if min == 0 and max is None:
        return relu(b, x)
    if not isinstance(min, int | float) or not isinstance(max, int | float) or not min < max:
        raise refuse(f"operation {b.place!r} (clamp, other than min=0 or two numbers)", "clamp")
    return b.emit("clip", [x], x.shape, {"low": float(min), "high": float(max)})


def hardtanh(b: Builder, x: Sym, min_val: float = -1.0, max_val: float = 1.0) -> Sym:
    return clamp(b, x, min_val, max_val)


def leaky_relu(b: Builder, x: Sym, negative_slope: float = 0.01) -> Sym:
    if not 0 <= negative_slope <= 1:
        raise b.fail(f"a leaky ReLU of slope {negative_slope}: it must be 0 to 1")
    return b.emit("leaky_relu", [x], x.shape, {"slope": float(negative_slope)})


def prelu(b: Builder, x: Sym, weight: Tensor) -> Sym:
    slope = constant(b, weight).reshape(-1)
    if len(set(slope.tolist())) != 1:
        raise b.fail("a PReLU with a slope for each channel: use nn.PReLU() with one, or LeakyReLU")
    return leaky_relu(b, x, float(slope[0]))


def smooth(name: str) -> Callable[..., Sym]:
    """The handler of a function of `mpc.smooth`; `plain` are the only values its options may have."""
    plain = {"alpha": 1, "beta": 1, "threshold": 20, "approximate": "none"}

    def handler(b: Builder, x: Sym, *args: Any, **options: Any) -> Sym:
        given = {**dict(zip(OPTIONS.get(name, ()), args, strict=False)), **options}
        odd = {k: v for k, v in given.items() if v != plain.get(k) and k != "scale" and k != "input_scale"}
        if odd or any(given.get(k, 1) != 1 for k in ("scale", "input_scale")):
            raise b.fail(f"{name} with {', '.join(f'{k}={v}' for k, v in odd.items())}: use its defaults")
        return b.emit("smooth", [x], x.shape, {"function": name})

    return handler


OPTIONS = {"elu": ("alpha", "scale", "input_scale"), "softplus": ("beta", "threshold")}  # as aten orders them


def maximum(b: Builder, x: Any, y: Any) -> Sym:
    return clamp(b, *((x, y) if isinstance(x, Sym) else (y, x)))


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
        raise refuse(f"operation {b.place!r} (the product of two activations)", "mul")
    s, c = (x, y) if isinstance(x, Sym) else (y, x)
    return affine(b, s, operand(b, s, c), 0.0)


def div(b: Builder, x: Any, y: Any) -> Sym:
    if not isinstance(x, Sym) or isinstance(y, Sym):
        raise refuse(f"operation {b.place!r} (division by an activation)", "mul")
    return affine(b, x, 1 / operand(b, x, y), 0.0)


def neg(b: Builder, x: Sym) -> Sym:
    return affine(b, x, -1.0, 0.0)
