"""Plain numpy layers on batches (N, C, H, W), for the float reference and the fixed-point simulation.

They compute in the dtype of their operands. Exact integer work is done in float64 below 2^53 (see
`exact_matmul`), since numpy multiplies integer matrices without BLAS.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .geometry import Padding, Pair, output_size, patches

Matmul = Callable[[np.ndarray, np.ndarray], np.ndarray]


def conv2d(
    x: np.ndarray,
    weight: np.ndarray,
    stride: Pair,
    padding: Padding,
    groups: int,
    matmul: Matmul = np.matmul,
) -> np.ndarray:
    """Cross-correlation of x (N, C, H, W) with weight (C_out, C / groups, h, w), zero padding, no bias."""
    n, channels, height, width = x.shape
    outs, _, kh, kw = weight.shape
    rows, columns = output_size(height, width, (kh, kw), stride, padding)
    if groups == channels == outs:
        return _depthwise(x, weight, stride, padding, (rows, columns))
    view = patches(x, (kh, kw), stride, padding)
    fan, each = channels // groups, outs // groups
    y = np.empty((n, outs, rows * columns), x.dtype)
    for g in range(groups):
        part = view[:, g * fan : (g + 1) * fan].transpose(0, 1, 4, 5, 2, 3)
        columns_of = part.reshape(n, fan * kh * kw, rows * columns)
        y[:, g * each : (g + 1) * each] = matmul(
            weight[g * each : (g + 1) * each].reshape(each, fan * kh * kw), columns_of
        )
    return y.reshape(n, outs, rows, columns)


def _depthwise(x: np.ndarray, weight: np.ndarray, stride: Pair, padding: Padding, size: Pair) -> np.ndarray:
    """One filter a channel: a sum over taps is quicker than a matrix product."""
    y = np.zeros((*x.shape[:2], *size), x.dtype)
    view = patches(x, (weight.shape[2], weight.shape[3]), stride, padding)
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            y += view[..., i, j] * weight[:, 0, i, j][:, None, None]
    return y


def max_pool(x: np.ndarray, kernel: Pair, stride: Pair, padding: Padding) -> np.ndarray:
    """Largest of each window; padding never wins."""
    top, left, bottom, right = padding
    low = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    if any(padding):
        x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=low)
    view = patches(x, kernel, stride, (0, 0, 0, 0))
    y = view[..., 0, 0].copy()
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            np.maximum(y, view[..., i, j], out=y)
    return y


def sum_pool(x: np.ndarray, kernel: Pair, stride: Pair, padding: Padding) -> np.ndarray:
    """Sum of each window, zero padding."""
    view = patches(x, kernel, stride, padding)
    y = view[..., 0, 0].copy()
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            if i or j:
                y += view[..., i, j]
    return y


def exact_matmul(weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    """weight @ x mod 2^32 for int64 values: weight within 2^16, any x; x is cut in 16-bit halves for float64."""
    w = weight.astype(np.float64)
    low = np.matmul(w, (x & 0xFFFF).astype(np.float64)).astype(np.int64)
    high = np.matmul(w, ((x >> 16) & 0xFFFF).astype(np.float64)).astype(np.int64)
    return (low + (high << 16)) & 0xFFFFFFFF


def slices(
    x: np.ndarray, start: tuple[int, ...], step: tuple[int, ...], shape: tuple[int, ...]
) -> np.ndarray:
    """x (N, *in) to (N, *shape): along each axis the elements start + i * step, zero where there is none."""
    y = np.zeros((len(x), *shape), x.dtype)
    into, out_of = [slice(None)], [slice(None)]
    for size, count, first, each in zip(x.shape[1:], shape, start, step, strict=True):
        low = max(0, -(first // each))
        high = max(low, min(count, (size - 1 - first) // each + 1))
        into.append(slice(low, high))
        out_of.append(slice(first + low * each, max(first + high * each, 0), each))
    y[tuple(into)] = x[tuple(out_of)] if all(s.stop > s.start for s in into[1:]) else 0
    return y


def permute(
    x: np.ndarray, view: tuple[int, ...], axes: tuple[int, ...], shape: tuple[int, ...]
) -> np.ndarray:
    """x (N, *in) seen as (N, *view), its axes in the order `axes`, as (N, *shape)."""
    moved = x.reshape(len(x), *view).transpose(0, *(1 + a for a in axes))
    return np.ascontiguousarray(moved).reshape(len(x), *shape)
