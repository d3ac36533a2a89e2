"""Pools, means over space, and the operations that only move elements: one small function a kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .builder import (
    Builder,
    Sym,
    adaptive_matrix,
    adaptive_size,
    pair,
    picture,
    pool_window,
    refuse,
    window_size,
)

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
    if pair(dilation) != (1, 1) or return_indices:
        raise b.fail("a max-pool with dilation or indices is not supported: leave both out")
    return b.emit("max_pool", [x], *pool_window(b, x, kernel_size, stride, padding, ceil_mode))


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
    shape, attrs = pool_window(b, x, kernel_size, stride, padding, False)
    uneven = any(attrs["padding"]) and not count_include_pad and divisor_override is None
    if uneven or (ceil_mode and pool_window(b, x, kernel_size, stride, padding, True)[0] != shape):
        raise b.fail(
            "an average pool whose windows have different sizes: set count_include_pad=True, ceil_mode=False"
        )
    attrs["divisor"] = int(divisor_override or math.prod(attrs["kernel"]))
    return b.emit("avg_pool", [x], shape, attrs)


def adaptive_avg_pool2d(b: Builder, x: Sym, output_size: Any) -> Sym:
    picture(b, x)
    size = adaptive_size(x, output_size)
    if all(n % o == 0 for n, o in zip(x.shape[2:], size, strict=True)):
        kernel = (x.shape[2] // size[0], x.shape[3] // size[1])
        return avg_pool2d(b, x, kernel) if kernel != (1, 1) else x
    matrix = np.kron(*(adaptive_matrix(n, o) for n, o in zip(x.shape[2:], size, strict=True)))
    return b.emit("spatial", [x], (*x.shape[:2], *size), {}, {"matrix": matrix})


def adaptive_max_pool2d(b: Builder, x: Sym, output_size: Any, return_indices: bool = False) -> Sym:
    picture(b, x)
    size = adaptive_size(x, output_size)
    if return_indices or any(n % o for n, o in zip(x.shape[2:], size, strict=True)):
        raise b.fail(f"{list(x.shape[2:])} is no multiple of {list(size)}: use MaxPool2d")
    kernel = (x.shape[2] // size[0], x.shape[3] // size[1])
    return max_pool2d(b, x, kernel) if kernel != (1, 1) else x


def mean(b: Builder, x: Sym, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Sym:
    rank = len(x.shape)
    dims = sorted({d % rank for d in ([dim] if isinstance(dim, int) else dim or ())})
    if rank not in (3, 4) or not dims or dims[0] < 2:
        raise b.fail(f"a mean over dimensions {dim}: only the mean over space, dim=(2, 3), is supported")
    kept = [1 if d in dims else n for d, n in enumerate(x.shape)]
    left = kept if keepdim else [n for d, n in enumerate(kept) if d not in dims]
    if rank == 3:  # rows or columns alone, after a first mean
        x = view(b, x, [*x.shape[:2], 1, x.shape[2]])
        dims = [3]
    pooled = avg_pool2d(b, x, tuple(x.shape[d] if d in dims else 1 for d in (2, 3)))
    return view(b, pooled, left)


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
    return b.emit("avg_pool", [x], (*x.shape[:2], *window_size(b, x, attrs)), attrs)


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
