"""What each PyTorch layer, function and tensor method means: one small function a kind, listed in two tables.

`MODULES` maps layer classes, `FUNCTIONS` the names of functions and methods, to a handler that appends to a
`Builder`. To support another layer: write its handler and list it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from blindsight.nn.floatnet import FloatOp
from blindsight.nn.geometry import output_size

Numbers = int | float | Tensor


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
    "use ReLU instead and train again": "LeakyReLU leaky_relu PReLU prelu ReLU6 relu6 ELU elu SELU selu CELU GELU gelu SiLU "
    "silu Mish mish Hardswish hardswish Hardsigmoid hardsigmoid Hardtanh hardtanh Sigmoid sigmoid Tanh tanh "
    "Softplus softplus clamp clip",
    "use BatchNorm2d instead and train again": "GroupNorm group_norm LayerNorm layer_norm InstanceNorm2d instance_norm "
    "LocalResponseNorm local_response_norm",
    "return the logits and choose --reveal probabilities": "Softmax softmax LogSoftmax log_softmax",
    "use a stride or a pool, or a convolution of known size": "Upsample interpolate ConvTranspose2d conv_transpose2d "
    "PixelShuffle pixel_shuffle",
    "multiply by constants only": "mul matmul bmm einsum scaled_dot_product_attention MultiheadAttention",
}
MONOTONIC_HEADS = {"Softmax", "softmax", "LogSoftmax", "log_softmax"}
SUPPORTED = (
    "Conv2d, Linear, BatchNorm, ReLU, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, mean over space, Flatten, view, Dropout, "
    "Identity, addition, concatenation, scaling by constants"
)


def refuse(what: str, name: str) -> CompileError:
    """The error for a kind that is not in the tables."""
    advice = next((a for a, names in REMEDIES.items() if name in names.split()), "replace or remove it")
    return CompileError(f"{what} is not supported: {advice} (supported: {SUPPORTED})")


# --- linear layers ---


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
    _picture(b, x)
    w = _constant(b, weight)
    dv, dh = _pair(dilation)
    if (dv, dh) != (1, 1):  # the same convolution with zeros between the taps
        wide = np.zeros((*w.shape[:2], (w.shape[2] - 1) * dv + 1, (w.shape[3] - 1) * dh + 1))
        wide[:, :, ::dv, ::dh] = w
        w = wide
    kernel = (w.shape[2], w.shape[3])
    pads = _conv_padding(b, padding, kernel)
    if x.shape[1] != w.shape[1] * groups:
        raise b.fail(f"takes {w.shape[1] * groups} channels, gets {x.shape[1]}")
    attrs = {"kernel": kernel, "stride": _pair(stride), "padding": pads, "groups": int(groups)}
    size = _size(b, x, attrs)
    offset = np.zeros(w.shape[0]) if bias is None else _constant(b, bias)
    return b.emit("conv2d", [x], (b.batch, w.shape[0], *size), attrs, {"weight": w, "bias": offset})


def linear(b: Builder, x: Sym, weight: Tensor, bias: Tensor | None = None) -> Sym:
    w = _constant(b, weight)
    if len(x.shape) != 2:
        raise b.fail(f"a Linear on shape {['N', *x.shape[1:]]}: flatten the picture before it")
    if x.shape[1] != w.shape[1]:
        raise b.fail(f"takes {w.shape[1]} features, gets {x.shape[1]}")
    offset = np.zeros(w.shape[0]) if bias is None else _constant(b, bias)
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
    factor = 1 / np.sqrt(_constant(b, var) + eps)
    if weight is not None:
        factor = factor * _constant(b, weight)
    offset = -_constant(b, mean) * factor
    if bias is not None:
        offset = offset + _constant(b, bias)
    return _affine(b, x, factor, offset)


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


def _affine(b: Builder, x: Sym, factor: Any, offset: Any) -> Sym:
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
    if min != 0 or max is not None:
        raise refuse(f"operation {b.place!r} (clamp, other than min=0)", "clamp")
    return relu(b, x)


def maximum(b: Builder, x: Any, y: Any) -> Sym:
    return clamp(b, *((x, y) if isinstance(x, Sym) else (y, x)))


def add(b: Builder, x: Any, y: Any, alpha: float = 1) -> Sym:
    if isinstance(x, Sym) and isinstance(y, Sym):
        if x.shape != y.shape:
            raise b.fail(f"adds shapes {list(x.shape[1:])} and {list(y.shape[1:])}: they must be the same")
        return b.emit("add", [x, y if alpha == 1 else _affine(b, y, alpha, 0.0)], x.shape)
    if isinstance(x, Sym):
        return _affine(b, x, 1.0, alpha * _operand(b, x, y))
    return _affine(b, y, alpha, _operand(b, y, x))


def sub(b: Builder, x: Any, y: Any, alpha: float = 1) -> Sym:
    return add(b, x, y, -alpha)


def rsub(b: Builder, x: Any, y: Any, alpha: float = 1) -> Sym:
    return add(b, y, x, -alpha)


def mul(b: Builder, x: Any, y: Any) -> Sym:
    if isinstance(x, Sym) and isinstance(y, Sym):
        raise refuse(f"operation {b.place!r} (the product of two activations)", "mul")
    s, c = (x, y) if isinstance(x, Sym) else (y, x)
    return _affine(b, s, _operand(b, s, c), 0.0)


def div(b: Builder, x: Any, y: Any) -> Sym:
    if not isinstance(x, Sym) or isinstance(y, Sym):
        raise refuse(f"operation {b.place!r} (division by an activation)", "mul")
    return _affine(b, x, 1 / _operand(b, x, y), 0.0)


def neg(b: Builder, x: Sym) -> Sym:
    return _affine(b, x, -1.0, 0.0)


# --- pools ---


def max_pool2d(
    b: Builder,
    x: Sym,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Sym:
    if _pair(dilation) != (1, 1) or return_indices:
        raise b.fail("a max-pool with dilation or indices is not supported: leave both out")
    return b.emit("max_pool", [x], *_pool(b, x, kernel_size, stride, padding, ceil_mode))


def avg_pool2d(
    b: Builder,
    x: Sym,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Sym:
    shape, attrs = _pool(b, x, kernel_size, stride, padding, False)
    uneven = any(attrs["padding"]) and not count_include_pad and divisor_override is None
    if uneven or (ceil_mode and _pool(b, x, kernel_size, stride, padding, True)[0] != shape):
        raise b.fail(
            "an average pool whose windows have different sizes: set count_include_pad=True, ceil_mode=False"
        )
    attrs["divisor"] = int(divisor_override or math.prod(attrs["kernel"]))
    return b.emit("avg_pool", [x], shape, attrs)


def adaptive_avg_pool2d(b: Builder, x: Sym, output_size: Any) -> Sym:
    _picture(b, x)
    size = _adaptive(x, output_size)
    if all(n % o == 0 for n, o in zip(x.shape[2:], size, strict=True)):
        kernel = (x.shape[2] // size[0], x.shape[3] // size[1])
        return avg_pool2d(b, x, kernel) if kernel != (1, 1) else x
    matrix = np.kron(*(_adaptive_matrix(n, o) for n, o in zip(x.shape[2:], size, strict=True)))
    return b.emit("spatial", [x], (*x.shape[:2], *size), {}, {"matrix": matrix})


def adaptive_max_pool2d(b: Builder, x: Sym, output_size: Any, return_indices: bool = False) -> Sym:
    _picture(b, x)
    size = _adaptive(x, output_size)
    if return_indices or any(n % o for n, o in zip(x.shape[2:], size, strict=True)):
        raise b.fail(f"{list(x.shape[2:])} is no multiple of {list(size)}: use MaxPool2d")
    kernel = (x.shape[2] // size[0], x.shape[3] // size[1])
    return max_pool2d(b, x, kernel) if kernel != (1, 1) else x


def mean(b: Builder, x: Sym, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Sym:
    _picture(b, x)
    dims = sorted({d % 4 for d in ([dim] if isinstance(dim, int) else dim or ())})
    if not dims or dims[0] < 2:
        raise b.fail(f"a mean over dimensions {dim}: only the mean over space, dim=(2, 3), is supported")
    pooled = avg_pool2d(b, x, tuple(x.shape[d] if d in dims else 1 for d in (2, 3)))
    if keepdim:
        return pooled
    return view(b, pooled, [n for d, n in enumerate(pooled.shape) if d not in dims])


# --- shapes ---


def view(b: Builder, x: Sym, *shape: Any) -> Sym:
    sizes = (
        list(shape[0]) if len(shape) == 1 and isinstance(shape[0], tuple | list | torch.Size) else list(shape)
    )
    total = math.prod(x.shape)
    if sizes.count(-1) == 1:
        known = math.prod(n for n in sizes if n != -1)
        sizes[sizes.index(-1)] = total // known if known else 0
    if math.prod(sizes) != total or not sizes or sizes[0] != b.batch:
        raise b.fail(
            f"reshapes {['N', *x.shape[1:]]} across the batch: use flatten(1) or view(x.size(0), -1)"
        )
    return x if tuple(sizes) == x.shape else b.emit("reshape", [x], sizes)


def flatten(b: Builder, x: Sym, start_dim: int = 0, end_dim: int = -1) -> Sym:
    first, last = start_dim % len(x.shape), end_dim % len(x.shape)
    return view(b, x, [*x.shape[:first], math.prod(x.shape[first : last + 1]), *x.shape[last + 1 :]])


def squeeze(b: Builder, x: Sym, dim: Any = None) -> Sym:
    dims = (
        range(1, len(x.shape))
        if dim is None
        else [d % len(x.shape) for d in ([dim] if isinstance(dim, int) else dim)]
    )
    return view(b, x, [n for d, n in enumerate(x.shape) if n != 1 or d not in dims])


def unsqueeze(b: Builder, x: Sym, dim: int) -> Sym:
    sizes = list(x.shape)
    sizes.insert(dim % (len(sizes) + 1), 1)
    return view(b, x, sizes)


def cat(b: Builder, tensors: Sequence[Sym], dim: int = 0) -> Sym:
    if not all(isinstance(t, Sym) for t in tensors):
        raise b.fail("concatenates a constant: concatenate activations only")
    rest = {t.shape[2:] for t in tensors}
    if dim % len(tensors[0].shape) != 1 or len(rest) != 1:
        raise b.fail(f"concatenates along dimension {dim}: only along the channels, dim=1, of equal pictures")
    return b.emit("concat", tensors, (b.batch, sum(t.shape[1] for t in tensors), *rest.pop()))


def identity(b: Builder, x: Sym, *_: Any, **__: Any) -> Sym:
    return x


def dropout(b: Builder, x: Sym, p: float = 0.5, training: bool = True) -> Sym:
    if training and p > 0:
        raise b.fail("a dropout that is active in evaluation: pass training=self.training")
    return x


def pad(b: Builder, x: Sym, pads: Sequence[int], mode: Any = "constant", value: float | None = None) -> Sym:
    if not isinstance(mode, str):  # constant_pad_nd(x, pads, value)
        mode, value = "constant", mode
    if mode != "constant" or value not in (None, 0) or len(pads) > 4 or min(pads) < 0:
        raise b.fail("only zero padding of the picture is supported: use padding_mode='zeros'")
    left, right, top, bottom = (*pads, 0, 0)[:4]
    attrs = {"kernel": (1, 1), "stride": (1, 1), "padding": (top, left, bottom, right), "divisor": 1}
    return b.emit("avg_pool", [x], (*x.shape[:2], *_size(b, x, attrs)), attrs)


def getitem(b: Builder, x: Any, index: Any) -> Any:
    if isinstance(x, Sym):
        raise refuse(f"operation {b.place!r} (a slice of an activation)", "getitem")
    return x[index]


def size(b: Builder, x: Sym, dim: int | None = None) -> Any:
    return x.shape if dim is None else x.shape[dim]


def attribute(b: Builder, x: Sym, name: str) -> Any:
    if name == "shape":
        return x.shape
    if name == "ndim":
        return len(x.shape)
    if name in ("dtype", "device"):
        return {"dtype": torch.float32, "device": torch.device("cpu")}[name]
    raise b.fail(f"reads the attribute {name!r} of an activation: leave that out")


# --- helpers ---


def _constant(b: Builder, value: Any) -> np.ndarray:
    if isinstance(value, Sym):
        raise b.fail("takes an activation where a weight belongs")
    array = np.asarray(value.detach().double().numpy() if isinstance(value, Tensor) else value, np.float64)
    if not np.isfinite(array).all():
        raise b.fail("a weight is not a finite number: train it again")
    return array


def _operand(b: Builder, x: Sym, value: Any) -> np.ndarray:
    """A constant that is added to or multiplied with x, its batch dimension taken off."""
    v = _constant(b, value)
    if v.ndim == len(x.shape):
        if v.shape[0] != 1:
            raise b.fail("a constant with a batch dimension other than 1: leave that dimension out")
        v = v[0]
    elif v.ndim == 1 and len(x.shape) == 4:
        v = v.reshape(1, 1, -1)
    try:
        fits = np.broadcast_shapes(v.shape, x.shape[1:]) == x.shape[1:]
    except ValueError:
        fits = False
    if not fits:
        raise b.fail(f"a constant of shape {list(v.shape)} does not fit {list(x.shape[1:])}")
    return v


def _picture(b: Builder, x: Sym) -> None:
    if len(x.shape) != 4:
        raise b.fail(f"takes pictures [N, C, H, W], gets {['N', *x.shape[1:]]}")


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, tuple | list):
        return (int(value[0]), int(value[-1]))
    return (int(value), int(value))


def _conv_padding(b: Builder, padding: Any, kernel: tuple[int, int]) -> tuple[int, int, int, int]:
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise b.fail(f"padding {padding!r} is not supported: use a number")
        extra = [k - 1 if padding == "same" else 0 for k in kernel]
        return (extra[0] // 2, extra[1] // 2, extra[0] - extra[0] // 2, extra[1] - extra[1] // 2)
    v, h = _pair(padding)
    return (v, h, v, h)


def _size(b: Builder, x: Sym, attrs: dict[str, Any]) -> tuple[int, int]:
    try:
        return output_size(x.shape[2], x.shape[3], attrs["kernel"], attrs["stride"], attrs["padding"])
    except ValueError as error:
        raise b.fail(f"{error}: the picture is too small for this network") from None


def _pool(
    b: Builder, x: Sym, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool
) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Output shape and window of a pool; ceil_mode becomes padding below and right."""
    _picture(b, x)
    kernel, pads = _pair(kernel_size), _pair(padding)
    steps = kernel if stride is None or stride == [] else _pair(stride)
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
    return (*x.shape[:2], *_size(b, x, attrs)), attrs


def _adaptive(x: Sym, output_size: Any) -> tuple[int, int]:
    sizes = output_size if isinstance(output_size, tuple | list) else (output_size, output_size)
    v, h = (x.shape[2 + i] if n is None else int(n) for i, n in enumerate(sizes))
    return v, h


def _adaptive_matrix(n: int, o: int) -> np.ndarray:
    """PyTorch's adaptive windows along one axis: row i averages floor(i n / o) to ceil((i + 1) n / o)."""
    matrix = np.zeros((o, n))
    for i in range(o):
        start, stop = i * n // o, -(-(i + 1) * n // o)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


# --- tables ---


def _conv_module(b: Builder, m: nn.Conv2d, x: Sym) -> Sym:
    if m.padding_mode != "zeros":
        raise b.fail(f"padding_mode={m.padding_mode!r} is not supported: use 'zeros'")
    return conv2d(b, x, m.weight, m.bias, m.stride, m.padding, m.dilation, m.groups)


def _norm_module(b: Builder, m: nn.BatchNorm2d, x: Sym) -> Sym:
    return batch_norm(b, x, m.running_mean, m.running_var, m.weight, m.bias, eps=m.eps)


def _avg_module(b: Builder, m: nn.AvgPool2d, x: Sym) -> Sym:
    return avg_pool2d(
        b, x, m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad, m.divisor_override
    )


def _max_module(b: Builder, m: nn.MaxPool2d, x: Sym) -> Sym:
    return max_pool2d(b, x, m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices)


def _unflatten_module(b: Builder, m: nn.Unflatten, x: Sym) -> Sym:
    return view(b, x, [*x.shape[: m.dim], *m.unflattened_size, *x.shape[m.dim + 1 :]])


MODULES: dict[type[nn.Module], Callable[..., Sym]] = {
    nn.Conv2d: _conv_module,
    nn.Linear: lambda b, m, x: linear(b, x, m.weight, m.bias),
    nn.BatchNorm2d: _norm_module,
    nn.BatchNorm1d: _norm_module,
    nn.ReLU: lambda b, _, x: relu(b, x),
    nn.MaxPool2d: _max_module,
    nn.AvgPool2d: _avg_module,
    nn.AdaptiveAvgPool2d: lambda b, m, x: adaptive_avg_pool2d(b, x, m.output_size),
    nn.AdaptiveMaxPool2d: lambda b, m, x: adaptive_max_pool2d(b, x, m.output_size, m.return_indices),
    nn.ZeroPad2d: lambda b, m, x: pad(b, x, m.padding),
    nn.Flatten: lambda b, m, x: flatten(b, x, m.start_dim, m.end_dim),
    nn.Unflatten: _unflatten_module,
    **dict.fromkeys(
        (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout), lambda _, __, x: x
    ),
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "conv2d": conv2d,
    "linear": linear,
    "addmm": addmm,
    "convolution": convolution,
    "batch_norm": batch_norm,
    "aten.batch_norm": aten_batch_norm,
    "native_batch_norm_legit_no_training": lambda b, x, w, o, m, v, momentum, eps: (
        batch_norm(b, x, m, v, w, o, eps=eps),
    ),
    "relu": relu,
    "clamp": clamp,
    "clamp_min": clamp,
    "clip": clamp,
    "threshold": lambda b, x, threshold, value: clamp(b, x, threshold if threshold == value else None),
    "maximum": maximum,
    **dict.fromkeys(("add", "iadd", "radd"), add),
    **dict.fromkeys(("sub", "isub", "subtract"), sub),
    "rsub": rsub,
    **dict.fromkeys(("mul", "imul", "multiply"), mul),
    **dict.fromkeys(("div", "truediv", "itruediv", "divide", "true_divide"), div),
    **dict.fromkeys(("neg", "negative"), neg),
    "max_pool2d": max_pool2d,
    "max_pool2d_with_indices": lambda b, *a, **k: (max_pool2d(b, *a, **k),),
    "avg_pool2d": avg_pool2d,
    "adaptive_avg_pool2d": adaptive_avg_pool2d,
    "adaptive_max_pool2d": adaptive_max_pool2d,
    "mean": mean,
    **dict.fromkeys(("view", "reshape", "unsafe_view"), view),
    "flatten": flatten,
    "squeeze": squeeze,
    "unsqueeze": unsqueeze,
    **dict.fromkeys(("cat", "concat", "concatenate"), cat),
    **dict.fromkeys(
        ("contiguous", "clone", "detach", "to", "float", "alias", "type_as", "lift_fresh_copy"), identity
    ),
    **dict.fromkeys(("dropout", "dropout2d", "feature_dropout", "alpha_dropout"), dropout),
    **dict.fromkeys(("pad", "constant_pad_nd"), pad),
    "getitem": getitem,
    "size": size,
    "sym_size": size,
    "dim": lambda b, x: len(x.shape),
    "getattr": attribute,
    "assert_tensor_metadata": lambda *_, **__: None,
}
