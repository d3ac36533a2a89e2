"""Rewrites of the float graph that keep its function: batch norms and constants melt into convolutions.

`reference` makes the graph that is stored as float reference: whatever scales a convolution's output is
folded into that convolution. `integer_form` goes on to the graph that is quantised, which takes raw pixels:
everything affine that stands before a convolution is pushed into it, exactly at zero-padded borders (the bias
becomes a (C, H, W) map), and what finds no convolution becomes a depthwise 1x1 one. Arrays are float64
throughout.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from blindsight.nn.floatnet import FloatGraph, FloatOp

from .builder import CompileError
from .fold_forward import ONE, absorbs, fold_forward, materialise
from .rewriter import Rewriter, channelwise

RISING = {"tanh", "sigmoid", "hardsigmoid", "softplus", "elu"}


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
    while any(_simplify(r, op) for op in list(r.ops)) or any(fold_forward(r, a) for a in r.of_kind("affine")):
        pass
    for op in r.of_kind("affine"):
        materialise(r, op)
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
    f, o = channelwise(factor, a.shape), channelwise(offset, a.shape)
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
    if power != divisor and r.consumers(op.out) and all(absorbs(r, k) for k in r.consumers(op.out)):
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
