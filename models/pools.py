"""Pools and means over space: one small function a kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .builder import (
    Builder,
    Sym,
    adaptive_matrix,
    adaptive_size,
    pair,
    picture,
    pool_window,
)
from .layers import affine
from .moves import view


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
    dims = _over_space(b, x, dim, "mean")
    rank, kept = len(x.shape), _left(x, dims, keepdim)
    if rank == 3:  # rows or columns alone, after a first mean
        x, dims = view(b, x, [*x.shape[:2], 1, x.shape[2]]), [3]
    pooled = avg_pool2d(b, x, tuple(x.shape[d] if d in dims else 1 for d in (2, 3)))
    return view(b, pooled, kept)


def total(b: Builder, x: Sym, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Sym:
    count = math.prod(x.shape[d] for d in _over_space(b, x, dim, "sum"))
    return affine(b, mean(b, x, dim, keepdim), float(count), 0.0)


def amax(b: Builder, x: Sym, dim: Any = None, keepdim: bool = False) -> Sym:
    dims = _over_space(b, x, dim, "maximum")
    if len(x.shape) != 4:
        raise b.fail("a maximum over part of a picture: take it over both, dim=(2, 3)")
    pooled = max_pool2d(b, x, tuple(x.shape[d] if d in dims else 1 for d in (2, 3)))
    return view(b, pooled, _left(x, dims, keepdim))


def _over_space(b: Builder, x: Sym, dim: Any, what: str) -> list[int]:
    rank = len(x.shape)
    dims = sorted({d % rank for d in ([dim] if isinstance(dim, int) else dim or ())})
    if rank not in (3, 4) or not dims or dims[0] < 2:
        raise b.fail(f"a {what} over dimensions {dim}: only that over space, dim=(2, 3), is supported")
    return dims


def _left(x: Sym, dims: Sequence[int], keepdim: bool) -> list[int]:
    kept = [1 if d in dims else n for d, n in enumerate(x.shape)]
    return kept if keepdim else [n for d, n in enumerate(kept) if d not in dims]
