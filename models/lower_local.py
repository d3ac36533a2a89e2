"""Quantisation of the operations that each server does alone: window sums, sums, concatenations, moves."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from blindsight.nn import kernels, plan
from blindsight.nn.floatnet import FloatOp

from .bounds import ACCUMULATOR, LOGIT, Interval
from .builder import CompileError
from .state import Again, Value

if TYPE_CHECKING:
    from .lower import Lowering


def avg_pool(lo: Lowering, op: FloatOp) -> None:
    x = lo.values[op.inputs[0]]
    divisor = op.attrs["divisor"]
    if divisor & (divisor - 1) and lo.bound(x).value >= 2.0**lo.settings.m:
        x = lo.truncate(x)  # leaves room for a factor of many bits
    narrow = x.error == 0 and x.interval.peak < 2.0**lo.settings.m
    if not _sum(lo, op, x) and (narrow or not _sum(lo, op, lo.truncate(x))):
        raise CompileError(
            f"layer {op.out!r}: sums over {op.attrs['kernel']} do not fit 2^29: pool in two steps"
        )


def _sum(lo: Lowering, op: FloatOp, x: Value) -> bool:
    a = op.attrs
    low, high = (
        kernels.sum_pool(v[None], a["kernel"], a["stride"], a["padding"])[0]
        for v in (x.interval.low, x.interval.high)
    )
    exact = (a["divisor"] - 1).bit_length()
    rough = a["divisor"] != 1 << exact
    for p in range(exact + 10, exact + 3, -1) if rough else [exact]:  # a factor of 5 to 11 bits, exact at 1
        factor = round((1 << p) / a["divisor"])
        error = x.error * math.prod(a["kernel"]) * factor
        interval = Interval(low * factor, high * factor)
        made = Value(op.out, op.shape, x.scale + p, interval, error, lo.seen[op.out])
        bound = lo.bound(made)
        if bound.value < ACCUMULATOR:
            break
    else:
        return False
    if lo.noisy(made):
        return False
    window = {key: a[key] for key in ("kernel", "stride", "padding")}
    common: dict[str, Any] = {"out": op.out, "inputs": (x.name,), "shape": op.shape, "scale": made.scale}
    lo.emit(plan.SumPool(**common, **window, factor=factor), f"times {factor} / 2^{p}", bound, ACCUMULATOR)
    lo.put(op.out, made)
    return True


def join(lo: Lowering, op: FloatOp) -> None:
    """add and concat: the inputs shifted left to the highest scale among them."""
    parts = [lo.values[name] for name in op.inputs]
    for _ in range(64):
        scale = max(x.scale for x in parts)
        shifts = tuple(scale - x.scale for x in parts)
        lows = [x.interval.low * 2.0**s for x, s in zip(parts, shifts, strict=True)]
        highs = [x.interval.high * 2.0**s for x, s in zip(parts, shifts, strict=True)]
        errors = [x.error * 2.0**s for x, s in zip(parts, shifts, strict=True)]
        if op.op == "add":
            interval, error = Interval(sum(lows[1:], lows[0]), sum(highs[1:], highs[0])), sum(errors)
        else:
            interval, error = Interval(np.concatenate(lows), np.concatenate(highs)), max(errors)
        made = Value(op.out, op.shape, scale, interval, error, lo.seen[op.out])
        bound = lo.bound(made)
        parts_fit = all(lo.bound(x).value * 2.0**s < LOGIT for x, s in zip(parts, shifts, strict=True))
        if bound.value < ACCUMULATOR and parts_fit and max(shifts) <= 30:
            loud = max(range(len(parts)), key=lambda i: errors[i])
            if not (lo.noisy(made) and shifts[loud] > 0):
                break
            parts[loud] = lo.truncate(parts[loud])  # its E, shifted left, would drown the others
            continue
        for i, x in enumerate(parts):  # too large: lower what stands highest
            if x.scale != scale:
                continue
            if x.source is not None:
                lo.settings.caps[x.source] = scale - 1
                raise Again
            if x.name in {t.name for t in lo.truncated.values()} or x.error == 0:
                raise CompileError(
                    f"layer {op.out!r}: inputs of very different size ({bound.value:.3g} at the common scale): put a "
                    "batch norm before it"
                )
            parts[i] = lo.truncate(x)
    kind = plan.Add if op.op == "add" else plan.Concat
    names = tuple(x.name for x in parts)
    joined = kind(out=op.out, inputs=names, shape=op.shape, scale=scale, shift=shifts)
    lo.emit(joined, f"shifts {list(shifts)}", bound, ACCUMULATOR)
    lo.put(op.out, made)


def reshape(lo: Lowering, op: FloatOp) -> None:
    x = lo.values[op.inputs[0]]
    lo.ops.append(plan.Reshape(out=op.out, inputs=(x.name,), shape=op.shape, scale=x.scale))
    interval = Interval(x.interval.low.reshape(op.shape), x.interval.high.reshape(op.shape))
    lo.put(op.out, replace(x, name=op.out, shape=op.shape, interval=interval, origin=op.out))


def move(lo: Lowering, op: FloatOp) -> None:
    """slice and permute: elements move, and zeros may come in."""
    x = lo.values[op.inputs[0]]
    if len(op.shape) > 3:
        raise CompileError(
            f"layer {op.out!r}: shape {list(op.shape)} is not a picture's: reshape it right after"
        )
    kind, kernel = (plan.Slice, kernels.slices) if op.op == "slice" else (plan.Permute, kernels.permute)
    lo.ops.append(kind(out=op.out, inputs=(x.name,), shape=op.shape, scale=x.scale, **op.attrs))
    first, second = op.attrs.values()
    low, high = (kernel(v[None], first, second, op.shape)[0] for v in (x.interval.low, x.interval.high))
    lo.put(
        op.out,
        replace(x, name=op.out, shape=op.shape, interval=Interval(low, high), source=None, origin=op.out),
    )
