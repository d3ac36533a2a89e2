"""The operations that only move elements: shapes, slices, padding, orders of dimensions, concatenation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch

from .builder import Builder, Sym, refuse, window_size


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
    """Zero padding of any axis but the batch; negative numbers cut off."""
    if not isinstance(mode, str):  # constant_pad_nd(x, pads, value)
        mode, value = "constant", mode
    if mode != "constant" or value not in (None, 0) or len(pads) % 2 or len(pads) > 2 * (len(x.shape) - 1):
        raise b.fail("only zero padding of the picture is supported: use padding_mode='zeros'")
    if len(x.shape) == 4 and len(pads) <= 4 and min(pads) >= 0:  # a convolution after it takes it in
        left, right, top, bottom = (*pads, 0, 0)[:4]
        attrs = {"kernel": (1, 1), "stride": (1, 1), "padding": (top, left, bottom, right), "divisor": 1}
        return b.emit("avg_pool", [x], (*x.shape[:2], *window_size(b, x, attrs)), attrs)
    start, sizes = [0] * (len(x.shape) - 1), list(x.shape[1:])
    for i in range(len(pads) // 2):
        before, after = pads[2 * i : 2 * i + 2]
        start[-1 - i], sizes[-1 - i] = -before, sizes[-1 - i] + before + after
    if min(sizes) < 1:
        raise b.fail(f"padding {list(pads)} leaves nothing of {list(x.shape[1:])}")
    return _cut(b, x, start, [1] * len(start), sizes)


def _cut(b: Builder, x: Sym, start: Sequence[int], step: Sequence[int], sizes: Sequence[int]) -> Sym:
    if not any(start) and tuple(sizes) == x.shape[1:]:
        return x
    attrs = {"start": tuple(start), "step": tuple(step)}
    return b.emit("slice", [x], (b.batch, *sizes), attrs)


def getitem(b: Builder, x: Any, index: Any) -> Any:
    """x[:, 4:8], x[:, :, ::2, ::2], x[..., 1:]; an integer takes its axis away."""
    if not isinstance(x, Sym):
        return x[index]
    rank, parts = len(x.shape), list(index) if isinstance(index, tuple) else [index]
    if any(not isinstance(p, slice | int | type(...)) or isinstance(p, bool) for p in parts):
        raise refuse(f"operation {b.place!r} (an index that is no number or slice)", "getitem")
    if ... in parts:
        at = parts.index(...)
        parts[at : at + 1] = [slice(None)] * (rank - len(parts) + 1)
    parts += [slice(None)] * (rank - len(parts))
    if len(parts) != rank or parts[0] not in (slice(None), slice(0, None), slice(None, None, 1)):
        raise b.fail("indexes the batch: take slices of the other dimensions only, x[:, ...]")
    start, step, sizes, dropped = [], [], [], []
    for axis, (part, n) in enumerate(zip(parts[1:], x.shape[1:], strict=True), 1):
        if isinstance(part, int):
            if not -n <= part < n:
                raise b.fail(f"index {part} of a dimension of {n}")
            part = slice(part % n, part % n + 1)
            dropped.append(axis)
        first, stop, each = part.indices(n)
        if each < 1 or stop <= first:
            raise b.fail(f"the slice {part} of a dimension of {n} is empty or runs backwards")
        start.append(first)
        step.append(each)
        sizes.append(-(-(stop - first) // each))
    cut = _cut(b, x, start, step, sizes)
    return view(b, cut, [n for axis, n in enumerate(cut.shape) if axis not in dropped]) if dropped else cut


def slice_tensor(b: Builder, x: Sym, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    """aten's spelling of a slice."""
    parts = [slice(None)] * len(x.shape)
    if dim % len(x.shape) == 0 and start in (None, 0) and (end is None or end >= b.batch) and step == 1:
        return x
    parts[dim] = slice(start, end, step)
    return getitem(b, x, tuple(parts))


def narrow(b: Builder, x: Sym, dim: int, start: int, length: int) -> Any:
    return slice_tensor(b, x, dim, start, start + length)


def split(b: Builder, x: Sym, sizes: Any, dim: int = 0) -> tuple[Sym, ...]:
    n = x.shape[dim]
    widths = [min(sizes, n - i) for i in range(0, n, sizes)] if isinstance(sizes, int) else list(sizes)
    if sum(widths) != n or dim % len(x.shape) == 0:
        raise b.fail(f"splits {n} into {widths} along dimension {dim}: split channels, their sizes adding up")
    ends = [sum(widths[: i + 1]) for i in range(len(widths))]
    return tuple(slice_tensor(b, x, dim, e - w, e) for w, e in zip(widths, ends, strict=True))


def tensor_split(b: Builder, x: Sym, parts: Any, dim: int = 0) -> tuple[Sym, ...]:
    """So many parts, the first ones one larger where they cannot be equal; or parts that begin at the given places."""
    n = x.shape[dim]
    inner = parts
    if isinstance(parts, int):
        inner = [i * (n // parts) + min(i, n % parts) for i in range(1, parts)]
    ends = [0, *inner, n]
    return split(b, x, [stop - start for start, stop in itertools.pairwise(ends)], dim)


def chunk(b: Builder, x: Sym, chunks: int, dim: int = 0) -> tuple[Sym, ...]:
    return split(b, x, -(-x.shape[dim] // chunks), dim)


def permute(b: Builder, x: Sym, *dims: Any) -> Sym:
    order = dims[0] if len(dims) == 1 and isinstance(dims[0], tuple | list) else dims
    axes = [d % len(x.shape) for d in order]
    if sorted(axes) != list(range(len(x.shape))) or axes[0] != 0:
        raise b.fail(f"permutes dimensions {list(order)}: the batch must stay first")
    if axes == sorted(axes):
        return x
    attrs = {"view": tuple(x.shape[1:]), "axes": tuple(a - 1 for a in axes[1:])}
    return b.emit("permute", [x], [x.shape[a] for a in axes], attrs)


def transpose(b: Builder, x: Sym, dim0: int, dim1: int) -> Sym:
    axes = list(range(len(x.shape)))
    axes[dim0], axes[dim1] = axes[dim1], axes[dim0]
    return permute(b, x, axes)


def channel_shuffle(b: Builder, x: Sym, groups: int) -> Sym:
    n, c, h, w = x.shape
    return view(b, transpose(b, view(b, x, [n, groups, c // groups, h, w]), 1, 2), [n, c, h, w])


def pixel_unshuffle(b: Builder, x: Sym, factor: int) -> Sym:
    n, c, h, w = x.shape
    parts = permute(b, view(b, x, [n, c, h // factor, factor, w // factor, factor]), 0, 1, 3, 5, 2, 4)
    return view(b, parts, [n, c * factor * factor, h // factor, w // factor])


def pixel_shuffle(b: Builder, x: Sym, factor: int) -> Sym:
    n, c, h, w = x.shape
    parts = permute(b, view(b, x, [n, c // factor**2, factor, factor, h, w]), 0, 1, 4, 2, 5, 3)
    return view(b, parts, [n, c // factor**2, h * factor, w * factor])


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
