"""Rewrites of the float graph that keep its function: batch norms and constants melt into convolutions.

`reference` makes the graph that is stored as float reference: whatever scales a convolution's output is
folded into that convolution. `integer_form` goes on to the graph that is quantised, which takes raw pixels:
everything affine that stands before a convolution is pushed into it, exactly at zero-padded borders (the bias
becomes a (C, H, W) map), and what finds no convolution becomes a depthwise 1x1 one. Arrays are float64
throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import numpy as np

from blindsight.nn import kernels
from blindsight.nn.floatnet import FloatGraph, FloatOp

from .builder import CompileError

ONE = (1, 1)
RISING = {"tanh", "sigmoid", "hardsigmoid", "softplus", "elu"}


class Rewriter:
    """A float graph under rewriting."""

    def __init__(self, graph: FloatGraph) -> None:
        self.ops = list(graph.ops)
        self.arrays = dict(graph.arrays)
        self.mean, self.std = graph.mean, graph.std

    def graph(self) -> FloatGraph:
        """The rewritten graph, without what nothing reads."""
        needed, kept = {self.ops[-1].out}, []
        for op in reversed(self.ops):
            if op.out in needed or op.op == "input":
                needed |= set(op.inputs)
                kept.append(op)
        kept.reverse()
        used = {t for op in kept for t in op.tensors.values()}
        return FloatGraph(kept, {k: v for k, v in self.arrays.items() if k in used}, self.mean, self.std)

    def producer(self, name: str) -> FloatOp:
        return next(op for op in self.ops if op.out == name)

    def consumers(self, name: str) -> list[FloatOp]:
        return [op for op in self.ops if name in op.inputs]

    def of_kind(self, kind: str) -> Iterator[FloatOp]:
        return iter([op for op in self.ops if op.op == kind])

    def array(self, op: FloatOp, name: str) -> np.ndarray:
        return self.arrays[op.tensors[name]]

    def insert_after(self, name: str, op: FloatOp) -> None:
        at = next(i for i, o in enumerate(self.ops) if o.out == name)
        self.ops.insert(at + 1, op)

    def swap(self, old: FloatOp, new: FloatOp) -> None:
        self.ops[next(i for i, o in enumerate(self.ops) if o is old)] = new

    def rename_input(self, op: FloatOp, old: str, new: str) -> FloatOp:
        changed = replace(op, inputs=tuple(new if n == old else n for n in op.inputs))
        self.swap(op, changed)
        return changed

    def bypass(self, op: FloatOp) -> None:
        """Remove a one-input operation: its readers read its input."""
        if self.ops[-1] is op:  # the last tensor gives the logits: rename the producer instead
            made = self.producer(op.inputs[0])
            for reader in self.consumers(made.out):
                if reader is not op:
                    self.rename_input(reader, made.out, op.out)
            self.swap(made, replace(made, out=op.out))
            self.ops.pop()
            return
        for reader in self.consumers(op.out):
            self.rename_input(reader, op.out, op.inputs[0])
        self.ops = [o for o in self.ops if o is not op]

    def name(self, base: str) -> str:
        taken = {op.out for op in self.ops}
        return next(n for n in (f"{base}.{i}" for i in count()) if n not in taken)

    def affine(
        self, base: str, source: str, shape: tuple[int, ...], factor: np.ndarray, offset: np.ndarray
    ) -> FloatOp:
        out = self.name(base)
        self.arrays[f"{out}.factor"], self.arrays[f"{out}.offset"] = factor, offset
        return FloatOp(
            "affine", out, (source,), shape, {}, {"factor": f"{out}.factor", "offset": f"{out}.offset"}
        )


def reference(graph: FloatGraph) -> FloatGraph:
    """The float reference: same function, batch norms folded into the layer before them."""
    r = Rewriter(graph)
    while any(_simplify(r, op) for op in list(r.ops)) or any(_fold_back(r, a) for a in r.of_kind("affine")):
        pass
    for op in r.of_kind("spatial"):
        _fold_spatial(r, op)
    return r.graph()


def integer_form(graph: FloatGraph) -> FloatGraph:
    """The graph on raw pixels (mean 0, std 1/255) of convolutions, linear layers, pools, ReLU, sums,
    concatenations.
    """
    r = Rewriter(graph)
    source, shape = r.ops[0].out, r.ops[0].shape
    mean, std = (np.asarray(v, np.float64).reshape(-1, 1, 1) for v in (r.mean, r.std))
    if len(r.ops) > 1:
        norm = r.affine("normalise", source, shape, 1 / (255 * std), -mean / std)
        for reader in r.consumers(source):
            r.rename_input(reader, source, norm.out)
        r.insert_after(source, norm)
    r.mean, r.std = (0.0,) * shape[0], (1 / 255,) * shape[0]
    for name in [op.out for op in r.of_kind("avg_pool")]:
        _power_of_two(r, r.producer(name))
    for op in r.of_kind("max_pool"):
        _pool_first(r, op)
    while any(_simplify(r, op) for op in list(r.ops)) or any(
        _fold_forward(r, a) for a in r.of_kind("affine")
    ):
        pass
    for op in r.of_kind("affine"):
        _materialise(r, op)
    return r.graph()


def _simplify(r: Rewriter, op: FloatOp) -> bool:
    """Remove what does nothing; True where something changed."""
    if op not in r.ops or op.op == "input":
        return False
    made = r.producer(op.inputs[0])
    if op.op == "reshape":
        if op.shape == made.shape and made.op != "input":
            r.bypass(op)
            return True
        if made.op == "reshape":
            r.rename_input(op, made.out, made.inputs[0])
            return True
        if made.op == "permute" and len(r.consumers(made.out)) == 1:
            r.swap(op, replace(made, out=op.out, shape=op.shape))
            r.ops = [o for o in r.ops if o is not made]
            return True
    if op.op == "permute" and made.op == "reshape":
        r.rename_input(op, made.out, made.inputs[0])
        return True
    if op.op == "relu" and (
        made.op == "relu" or (made.op == "max_pool" and r.producer(made.inputs[0]).op == "relu")
    ):
        r.bypass(op)
        return True
    if (
        op.op == "affine"
        and made.op != "input"
        and np.all(r.array(op, "factor") == 1)
        and not r.array(op, "offset").any()
    ):
        r.bypass(op)
        return True
    if op.op == "conv2d" and _is_padding(made):
        padding = tuple(a + b for a, b in zip(op.attrs["padding"], made.attrs["padding"], strict=True))
        r.swap(op, replace(op, inputs=made.inputs, attrs={**op.attrs, "padding": padding}))
        return True
    return False


def _is_padding(op: FloatOp) -> bool:
    return (
        op.op == "avg_pool" and op.attrs["kernel"] == op.attrs["stride"] == ONE and op.attrs["divisor"] == 1
    )


def _channelwise(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array as (C, 1, 1) (or (n,) for a vector), None where it varies over space."""
    full = np.broadcast_to(value, shape)
    if len(shape) == 1:
        return np.ascontiguousarray(full)
    first = full.reshape(shape[0], -1)[:, :1]
    return (
        first.reshape(shape[0], *(1,) * (len(shape) - 1))
        if (full.reshape(shape[0], -1) == first).all()
        else None
    )


def _fold_back(r: Rewriter, a: FloatOp) -> bool:
    """Fold an affine into what wrote its input; True where something changed."""
    if a not in r.ops:
        return False
    made = r.producer(a.inputs[0])
    factor, offset = r.array(a, "factor"), r.array(a, "offset")
    if len(r.consumers(made.out)) != 1 or made.op == "input":
        return False
    if made.op == "affine":
        r.arrays[a.tensors["offset"]] = r.array(made, "offset") * factor + offset
        r.arrays[a.tensors["factor"]] = r.array(made, "factor") * factor
        r.rename_input(a, made.out, made.inputs[0])
        r.ops = [o for o in r.ops if o is not made]
        return True
    f, o = _channelwise(factor, a.shape), _channelwise(offset, a.shape)
    if f is None or o is None:
        return False
    if made.op in ("conv2d", "linear"):
        weight, bias = made.tensors["weight"], made.tensors["bias"]
        flat = f.reshape(-1)
        r.arrays[weight] = r.arrays[weight] * flat.reshape(-1, *(1,) * (r.arrays[weight].ndim - 1))
        r.arrays[bias] = r.arrays[bias] * flat + o.reshape(-1)
        r.bypass(a)
        return True
    commutes = made.op == "max_pool" and (f > 0).all()
    if made.op == "avg_pool":
        commutes = not any(made.attrs["padding"]) and made.attrs["divisor"] == math.prod(made.attrs["kernel"])
    if commutes and _ends_in_weights(r, made.inputs[0]):
        before = r.affine(a.out, made.inputs[0], r.producer(made.inputs[0]).shape, f, o)
        r.insert_after(made.inputs[0], before)
        r.rename_input(made, made.inputs[0], before.out)
        r.bypass(a)
        return True
    if made.op == "concat" and all(_ends_in_weights(r, n) for n in made.inputs):
        start, names = 0, []
        for n in made.inputs:
            shape = r.producer(n).shape
            part = slice(start, start + shape[0])
            start += shape[0]
            piece = r.affine(a.out, n, shape, f[part], o[part])
            r.insert_after(n, piece)
            names.append(piece.out)
        r.swap(made, replace(made, inputs=tuple(names)))
        r.bypass(a)
        return True
    return False


def _ends_in_weights(r: Rewriter, name: str) -> bool:
    """Whether an affine put on this tensor can be folded into the layer that writes it."""
    made = r.producer(name)
    return made.op in ("conv2d", "linear") and len(r.consumers(name)) == 1


def _fold_spatial(r: Rewriter, op: FloatOp) -> None:
    """A linear map over space melts into the Linear that follows a flatten (VGG's adaptive pool on small
    pictures).
    """
    readers = r.consumers(op.out)
    flat = readers[0] if len(readers) == 1 and readers[0].op == "reshape" else None
    after = r.consumers(flat.out) if flat else []
    if flat is None or len(flat.shape) != 1 or not after or any(k.op != "linear" for k in after):
        raise CompileError(
            f"layer {op.out!r}: an adaptive pool of {r.producer(op.inputs[0]).shape[1:]} to {op.shape[1:]}, which is no "
            "whole number of pixels a window: use AvgPool2d, or a Flatten and a Linear after it"
        )
    made = r.producer(op.inputs[0])
    matrix = r.array(op, "matrix")
    for k in after:
        weight = r.array(k, "weight")
        cut = weight.reshape(len(weight), op.shape[0], -1) @ matrix
        r.arrays[k.tensors["weight"]] = cut.reshape(len(weight), -1)
    r.swap(flat, replace(flat, inputs=op.inputs, shape=(math.prod(made.shape),)))
    r.ops = [o for o in r.ops if o is not op]


def _power_of_two(r: Rewriter, op: FloatOp) -> None:
    """Divide by a power of two, and leave the rest of the mean to the layers that follow, where they take it."""
    divisor = op.attrs["divisor"]
    power = 1 << (divisor - 1).bit_length()
    if power != divisor and r.consumers(op.out) and all(_absorbs(r, k) for k in r.consumers(op.out)):
        rest = r.affine(op.out, op.out, op.shape, np.asarray(power / divisor), np.asarray(0.0))
        for reader in r.consumers(op.out):
            r.rename_input(reader, op.out, rest.out)
        r.swap(op, replace(op, attrs={**op.attrs, "divisor": power}))
        r.insert_after(op.out, rest)


def _pool_first(r: Rewriter, pool: FloatOp) -> None:
    """A max-pool before a non-decreasing function that it alone reads: they commute, and the function costs more."""
    made = r.producer(pool.inputs[0])
    rising = made.op in ("clip", "leaky_relu") or made.attrs.get("function") in RISING
    if not rising or len(r.consumers(made.out)) != 1 or r.ops[-1] is pool:
        return
    first = replace(pool, inputs=made.inputs, out=made.out)
    r.swap(pool, replace(made, inputs=(first.out,), out=pool.out, shape=pool.shape))
    r.swap(made, first)


def _absorbs(r: Rewriter, op: FloatOp) -> bool:
    """Whether a constant factor before `op` ends up in weights."""
    if op.op in ("conv2d", "linear"):
        return True
    readers = r.consumers(op.out)
    return (
        op.op in ("reshape", "affine", "relu", "max_pool", "avg_pool")
        and bool(readers)
        and all(_absorbs(r, k) for k in readers)
    )


def _fold_forward(r: Rewriter, a: FloatOp) -> bool:
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
    f, o = _channelwise(factor, shape), _channelwise(offset, shape)
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
    if past is None or (k.op in ("relu", "max_pool") and not all(_absorbs(r, n) for n in r.consumers(k.out))):
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


def _materialise(r: Rewriter, a: FloatOp) -> None:
    """An affine that found no convolution becomes a depthwise 1x1 convolution, its offset a bias (map)."""
    factor, offset = r.array(a, "factor"), np.broadcast_to(r.array(a, "offset"), a.shape)
    f = _channelwise(factor, a.shape)
    if f is None or len(a.shape) == 2:
        raise CompileError(
            f"operation {a.out!r}: a factor that varies over the picture has no convolution to go into: "
            "place it right before a Linear"
        )
    picture = a.shape if len(a.shape) == 3 else (a.shape[0], 1, 1)
    channels = picture[0]
    o = _channelwise(offset, a.shape)
    bias = offset.reshape(picture).copy() if o is None else o.reshape(-1)
    attrs = {"kernel": ONE, "stride": ONE, "padding": (0, 0, 0, 0), "groups": channels}
    source, out = a.inputs[0], a.out
    inserted: list[FloatOp] = []
    if len(a.shape) == 1:
        inserted.append(FloatOp("reshape", r.name(out), (source,), picture))
        source = inserted[-1].out
    name = out if len(a.shape) == 3 else r.name(f"{out}.scale")
    r.arrays[f"{name}.weight"], r.arrays[f"{name}.bias"] = f.reshape(channels, 1, 1, 1), bias
    inserted.append(
        FloatOp(
            "conv2d", name, (source,), picture, attrs, {"weight": f"{name}.weight", "bias": f"{name}.bias"}
        )
    )
    if len(a.shape) == 1:
        inserted.append(FloatOp("reshape", out, (name,), a.shape))
    at = next(i for i, o in enumerate(r.ops) if o is a)
    r.ops[at : at + 1] = inserted
