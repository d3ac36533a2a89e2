"""Constants that go forward: an affine melts into the weights that read it, or becomes a depthwise convolution."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from blindsight.nn import kernels
from blindsight.nn.floatnet import FloatOp

from .builder import CompileError
from .rewriter import Rewriter, channelwise

ONE = (1, 1)


def absorbs(r: Rewriter, op: FloatOp) -> bool:
    """Whether a constant factor before `op` ends up in weights."""
    if op.op in ("conv2d", "linear"):
        return True
    readers = r.consumers(op.out)
    return (
        op.op in ("reshape", "affine", "relu", "max_pool", "avg_pool")
        and bool(readers)
        and all(absorbs(r, k) for k in readers)
    )


def fold_forward(r: Rewriter, a: FloatOp) -> bool:
    """Push an affine into (or past) the operations that read it; True where something changed."""
    if a not in r.ops:
        return False
    changed = False
    for reader in r.consumers(a.out):
        changed |= _push(r, a, reader)
    if changed and not r.consumers(a.out):
        r.ops = [o for o in r.ops if o is not a]
    return changed


def _push(r: Rewriter, a: FloatOp, k: FloatOp) -> bool:
    source, shape = a.inputs[0], a.shape
    factor, offset = r.array(a, "factor"), r.array(a, "offset")
    f, o = channelwise(factor, shape), channelwise(offset, shape)
    if k.op == "linear":
        weight, bias = k.tensors["weight"], k.tensors["bias"]
        r.arrays[bias] = r.arrays[bias] + r.arrays[weight] @ np.broadcast_to(offset, shape)
        r.arrays[weight] = r.arrays[weight] * np.broadcast_to(factor, shape)
        r.rename_input(k, a.out, source)
        return True
    if k.op == "conv2d" and f is not None:
        weight, bias, attrs = k.tensors["weight"], k.tensors["bias"], k.attrs
        full = np.ascontiguousarray(np.broadcast_to(offset, shape))[None]
        shift = kernels.conv2d(full, r.arrays[weight], attrs["stride"], attrs["padding"], attrs["groups"])[0]
        groups, each = attrs["groups"], r.arrays[weight].shape[0] // attrs["groups"]
        scale = np.repeat(f.reshape(groups, 1, -1), each, axis=1).reshape(r.arrays[weight].shape[:2])
        r.arrays[weight] = r.arrays[weight] * scale[:, :, None, None]
        old = r.arrays[bias]
        total = shift + (old if old.ndim == 3 else old.reshape(-1, 1, 1))
        spread = np.ptp(total.reshape(len(total), -1), axis=1)
        flat = bool((spread <= 1e-12 * (1 + np.abs(total).max())).all())
        r.arrays[bias] = total[:, 0, 0].copy() if flat else total
        r.rename_input(k, a.out, source)
        return True
    if k.op == "affine":
        r.arrays[k.tensors["offset"]] = offset * r.array(k, "factor") + r.array(k, "offset")
        r.arrays[k.tensors["factor"]] = factor * r.array(k, "factor")
        r.rename_input(k, a.out, source)
        return True
    past: tuple[np.ndarray, np.ndarray] | None = None
    if k.op == "reshape":
        past = tuple(np.broadcast_to(v, shape).reshape(k.shape) for v in (factor, offset))  # type: ignore[assignment]
    elif k.op in ("slice", "permute"):
        move: Callable[..., np.ndarray] = kernels.slices if k.op == "slice" else kernels.permute
        whole = (np.broadcast_to(v, shape)[None] for v in (factor, offset))
        past = tuple(move(v, *k.attrs.values(), k.shape)[0] for v in whole)
    elif k.op == "avg_pool" and f is not None:
        full = np.ascontiguousarray(np.broadcast_to(offset, shape))[None]
        pooled = kernels.sum_pool(full, k.attrs["kernel"], k.attrs["stride"], k.attrs["padding"])[0]
        past = (f, pooled / k.attrs["divisor"])
    elif k.op == "max_pool" and f is not None and o is not None and (f > 0).all():
        past = (f, o)
    elif k.op == "relu" and not offset.any() and (factor > 0).all():
        past = (factor, offset)
    if past is None or (k.op in ("relu", "max_pool") and not all(absorbs(r, n) for n in r.consumers(k.out))):
        return False
    if k.op == "reshape" and not r.consumers(k.out):
        return False
    moved = r.rename_input(k, a.out, source)
    after = r.affine(k.out, k.out, k.shape, *past)
    readers = r.consumers(k.out)
    for reader in readers:
        r.rename_input(reader, k.out, after.out)
    if not readers:  # it gave the logits: its name moves to the affine
        inner = r.name(k.out)
        r.swap(moved, replace(moved, out=inner))
        after = replace(after, out=k.out, inputs=(inner,))
        r.ops.append(after)
    else:
        r.insert_after(k.out, after)
    return True


def materialise(r: Rewriter, a: FloatOp) -> None:
    """An affine that found no convolution becomes a depthwise 1x1 convolution, its offset a bias (map)."""
    factor, offset = r.array(a, "factor"), np.broadcast_to(r.array(a, "offset"), a.shape)
    f = channelwise(factor, a.shape)
    if f is None:
        raise CompileError(
            f"operation {a.out!r}: a factor that varies over the picture has no convolution to go into: "
            "place it right before a Linear"
        )
    picture = a.shape if len(a.shape) == 3 else (a.shape[0], 1, math.prod(a.shape[1:]))
    channels = picture[0]
    o = channelwise(offset, a.shape)
    bias = offset.reshape(picture).copy() if o is None else o.reshape(-1)
    attrs = {"kernel": ONE, "stride": ONE, "padding": (0, 0, 0, 0), "groups": channels}
    source, out = a.inputs[0], a.out
    inserted: list[FloatOp] = []
    if a.shape != picture:
        inserted.append(FloatOp("reshape", r.name(out), (source,), picture))
        source = inserted[-1].out
    name = out if a.shape == picture else r.name(f"{out}.scale")
    r.arrays[f"{name}.weight"], r.arrays[f"{name}.bias"] = f.reshape(channels, 1, 1, 1), bias
    inserted.append(
        FloatOp(
            "conv2d", name, (source,), picture, attrs, {"weight": f"{name}.weight", "bias": f"{name}.bias"}
        )
    )
    if a.shape != picture:
        inserted.append(FloatOp("reshape", out, (name,), a.shape))
    at = next(i for i, o in enumerate(r.ops) if o is a)
    r.ops[at : at + 1] = inserted
