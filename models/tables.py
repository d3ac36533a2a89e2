"""The two tables of the front end: `MODULES` maps layer classes, `FUNCTIONS` names of functions and methods, to handlers.

To support another layer: write its handler (`layers`, `pools`, `moves`) and list it here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from . import layers, moves, pools
from .builder import Builder, Sym


def _conv_module(b: Builder, m: nn.Conv2d, x: Sym) -> Sym:
    if m.padding_mode != "zeros":
        raise b.fail(f"padding_mode={m.padding_mode!r} is not supported: use 'zeros'")
    return layers.conv2d(b, x, m.weight, m.bias, m.stride, m.padding, m.dilation, m.groups)


def _norm_module(b: Builder, m: nn.modules.batchnorm._BatchNorm, x: Sym) -> Sym:
    return layers.batch_norm(b, x, m.running_mean, m.running_var, m.weight, m.bias, eps=m.eps)


def _avg_module(b: Builder, m: nn.AvgPool2d, x: Sym) -> Sym:
    return pools.avg_pool2d(
        b, x, m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad, m.divisor_override
    )


def _max_module(b: Builder, m: nn.MaxPool2d, x: Sym) -> Sym:
    return pools.max_pool2d(
        b, x, m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices
    )


def _unflatten_module(b: Builder, m: nn.Unflatten, x: Sym) -> Sym:
    return moves.view(b, x, [*x.shape[: m.dim], *m.unflattened_size, *x.shape[m.dim + 1 :]])


PLAIN: dict[type[nn.Module], str] = {
    nn.Tanh: "tanh", nn.Sigmoid: "sigmoid", nn.Hardsigmoid: "hardsigmoid", nn.SiLU: "silu",
    nn.Hardswish: "hardswish", nn.Mish: "mish",
}  # fmt: skip


def _plain_module(name: str) -> Callable[..., Sym]:
    return lambda b, _, x: layers.function(name)(b, x)


MODULES: dict[type[nn.Module], Callable[..., Sym]] = {
    nn.Conv2d: _conv_module,
    nn.Linear: lambda b, m, x: layers.linear(b, x, m.weight, m.bias),
    nn.BatchNorm2d: _norm_module,
    nn.BatchNorm1d: _norm_module,
    nn.SyncBatchNorm: _norm_module,
    nn.ReLU: lambda b, _, x: layers.relu(b, x),
    nn.ReLU6: lambda b, _, x: layers.clamp(b, x, 0, 6),
    nn.Hardtanh: lambda b, m, x: layers.clamp(b, x, m.min_val, m.max_val),
    nn.LeakyReLU: lambda b, m, x: layers.leaky_relu(b, x, m.negative_slope),
    nn.RReLU: lambda b, m, x: layers.leaky_relu(b, x, (m.lower + m.upper) / 2),
    nn.PReLU: lambda b, m, x: layers.prelu(b, x, m.weight),
    nn.GELU: lambda b, m, x: layers.gelu(b, x, m.approximate),
    nn.ELU: lambda b, m, x: layers.elu(b, x, m.alpha),
    nn.SELU: lambda b, _, x: layers.selu(b, x),
    nn.CELU: lambda b, m, x: layers.celu(b, x, m.alpha),
    nn.Softplus: lambda b, m, x: layers.softplus(b, x, m.beta, m.threshold),
    nn.LogSigmoid: lambda b, _, x: layers.log_sigmoid(b, x),
    **{kind: _plain_module(name) for kind, name in PLAIN.items()},
    nn.MaxPool2d: _max_module,
    nn.AvgPool2d: _avg_module,
    nn.AdaptiveAvgPool2d: lambda b, m, x: pools.adaptive_avg_pool2d(b, x, m.output_size),
    nn.AdaptiveMaxPool2d: lambda b, m, x: pools.adaptive_max_pool2d(b, x, m.output_size, m.return_indices),
    nn.ConstantPad2d: lambda b, m, x: moves.pad(b, x, m.padding, value=m.value),
    nn.ChannelShuffle: lambda b, m, x: moves.channel_shuffle(b, x, m.groups),
    nn.PixelUnshuffle: lambda b, m, x: moves.pixel_unshuffle(b, x, m.downscale_factor),
    nn.PixelShuffle: lambda b, m, x: moves.pixel_shuffle(b, x, m.upscale_factor),
    nn.Flatten: lambda b, m, x: moves.flatten(b, x, m.start_dim, m.end_dim),
    nn.Unflatten: _unflatten_module,
    **dict.fromkeys(
        (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout), lambda _, __, x: x
    ),
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "conv2d": layers.conv2d,
    "linear": layers.linear,
    "addmm": layers.addmm,
    "convolution": layers.convolution,
    "batch_norm": layers.batch_norm,
    "aten.batch_norm": layers.aten_batch_norm,
    "native_batch_norm_legit_no_training": lambda b, x, w, o, m, v, momentum, eps: (
        layers.batch_norm(b, x, m, v, w, o, eps=eps),
    ),
    "relu": layers.relu,
    "clamp": layers.clamp,
    "clamp_min": layers.clamp,
    "clamp_max": lambda b, x, max: layers.clamp(b, x, None, max),
    "clip": layers.clamp,
    "threshold": lambda b, x, threshold, value: layers.clamp(b, x, threshold if threshold == value else None),
    "maximum": layers.maximum,
    "minimum": layers.minimum,
    **dict.fromkeys(("abs", "absolute"), layers.absolute),
    "relu6": lambda b, x: layers.clamp(b, x, 0, 6),
    "hardtanh": layers.hardtanh,
    "leaky_relu": layers.leaky_relu,
    "prelu": layers.prelu,
    **{name: layers.function(name) for name in PLAIN.values()},
    "gelu": layers.gelu,
    "elu": layers.elu,
    "selu": layers.selu,
    "celu": layers.celu,
    "softplus": layers.softplus,
    **dict.fromkeys(("logsigmoid", "log_sigmoid", "log_sigmoid_forward"), layers.log_sigmoid),
    **dict.fromkeys(("add", "iadd", "radd"), layers.add),
    **dict.fromkeys(("sub", "isub", "subtract"), layers.sub),
    "rsub": layers.rsub,
    **dict.fromkeys(("mul", "imul", "multiply"), layers.mul),
    **dict.fromkeys(("div", "truediv", "itruediv", "divide", "true_divide"), layers.div),
    **dict.fromkeys(("neg", "negative"), layers.neg),
    **dict.fromkeys(("matmul", "mm"), layers.matmul),
    "max_pool2d": pools.max_pool2d,
    "max_pool2d_with_indices": lambda b, *a, **k: (pools.max_pool2d(b, *a, **k),),
    "avg_pool2d": pools.avg_pool2d,
    "adaptive_avg_pool2d": pools.adaptive_avg_pool2d,
    "adaptive_max_pool2d": pools.adaptive_max_pool2d,
    "mean": pools.mean,
    "sum": pools.total,
    "amax": pools.amax,
    **dict.fromkeys(("view", "reshape", "unsafe_view"), moves.view),
    "flatten": moves.flatten,
    "squeeze": moves.squeeze,
    "unsqueeze": moves.unsqueeze,
    **dict.fromkeys(("cat", "concat", "concatenate"), moves.cat),
    **dict.fromkeys(
        ("contiguous", "clone", "detach", "to", "float", "alias", "type_as", "lift_fresh_copy"),
        moves.identity,
    ),
    **dict.fromkeys(("dropout", "dropout2d", "feature_dropout", "alpha_dropout"), moves.dropout),
    **dict.fromkeys(("pad", "constant_pad_nd"), moves.pad),
    "getitem": moves.getitem,
    "slice": moves.slice_tensor,
    "narrow": moves.narrow,
    "chunk": moves.chunk,
    **dict.fromkeys(("split", "split_with_sizes"), moves.split),
    "tensor_split": moves.tensor_split,
    "permute": moves.permute,
    **dict.fromkeys(("transpose", "swapaxes", "swapdims"), moves.transpose),
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), moves.channel_shuffle),
    "pixel_unshuffle": moves.pixel_unshuffle,
    "pixel_shuffle": moves.pixel_shuffle,
    "size": moves.size,
    "sym_size": moves.size,
    "dim": lambda b, x: len(x.shape),
    "getattr": moves.attribute,
    "assert_tensor_metadata": lambda *_, **__: None,
}
