"""Window geometry of convolutions and pools: public functions of shapes alone."""

from __future__ import annotations

import numpy as np

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]  # top, left, bottom, right


def output_size(height: int, width: int, kernel: Pair, stride: Pair, padding: Padding) -> Pair:
    """Rows and columns of the output; ValueError where the padded picture is smaller than the kernel."""
    rows = height + padding[0] + padding[2] - kernel[0]
    columns = width + padding[1] + padding[3] - kernel[1]
    if rows < 0 or columns < 0:
        raise ValueError(
            f"the kernel {kernel[0]}x{kernel[1]} is larger than the padded input of "
            f"{rows + kernel[0]}x{columns + kernel[1]}"
        )
    return rows // stride[0] + 1, columns // stride[1] + 1


def window_indices(shape: tuple[int, int, int], kernel: Pair, stride: Pair, padding: Padding) -> np.ndarray:
    """Indices of each pooling window into the flattened (C, H, W) input.

    Returns int64 (C * H' * W', kh * kw) in row-major order of the output and of the window; -1 marks padding.
    """
    c, h, w = shape
    rows, columns = output_size(h, w, kernel, stride, padding)
    i = (np.arange(rows) * stride[0] - padding[0])[:, None] + np.arange(kernel[0])
    j = (np.arange(columns) * stride[1] - padding[1])[:, None] + np.arange(kernel[1])
    flat = i[:, None, :, None] * w + j[None, :, None, :]
    inside = ((i >= 0) & (i < h))[:, None, :, None] & ((j >= 0) & (j < w))[None, :, None, :]
    base = (np.arange(c) * (h * w))[:, None, None, None, None]
    return np.where(inside, flat + base, -1).reshape(c * rows * columns, kernel[0] * kernel[1])


def patches(x: np.ndarray, kernel: Pair, stride: Pair, padding: Padding) -> np.ndarray:
    """Read-only view (N, C, H', W', kh, kw) of the zero-padded batch x (N, C, H, W)."""
    top, left, bottom, right = padding
    if any(padding):
        x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    view = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(2, 3))
    return view[:, :, :: stride[0], :: stride[1]]
