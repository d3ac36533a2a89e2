"""Quantisation of the non-linear layers: each truncates its input, to as few dropped bits as its bound allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from blindsight.mpc import smooth
from blindsight.nn import kernels, plan
from blindsight.nn.floatnet import FloatOp

from .bounds import Interval, dropped_bits
from .builder import CompileError
from .state import Bound, Value

if TYPE_CHECKING:
    from .lower import Lowering

SLOPE_BITS = 11  # of the slope of a leaky ReLU
TABLE_SCALE = 12  # the finest scale of a table's arguments and results
DIPPING = ("silu", "gelu", "gelu_tanh", "hardswish", "mish")  # fall before they rise


def relu(lo: Lowering, op: FloatOp) -> None:
    second = lo.fused.get(op.out)
    if second is not None:
        _pool(lo, op.inputs[0], second, second, True)
        return
    x = lo.values[op.inputs[0]]
    bound = lo.bound(x)
    m = lo.settings.m_of(op.out)
    f = dropped_bits(bound.value, x.error, m, False)
    lo.check_width(op.out, f, m, bound.value)
    made = plan.Relu(out=op.out, inputs=(x.name,), shape=op.shape, scale=x.scale - f, f=f, m=m)
    lo.reduce(made, x, bound, m - 1)
    interval = x.interval.reduced(f, x.error, True).clipped(2.0 ** (m - 1))
    lo.put(op.out, Value(op.out, op.shape, x.scale - f, interval, 0.0, lo.seen[op.out]))


def _argument(lo: Lowering, op: FloatOp, most: int, finest: int) -> tuple[Value, int, int, Bound]:
    """Input of a function, bits to drop, and the fewest to keep for its bound: at most `most`, and no finer than
    the scale `finest`.
    """
    x = lo.values[op.inputs[0]]
    bound = lo.bound(x)
    f = max(dropped_bits(bound.value, x.error, most, False), x.scale - finest)
    m = most
    while m > 8 and bound.value < 2.0 ** (m - 2 + f) - 2.0**f:
        m -= 1
    lo.check_width(op.out, f, m, bound.value)
    return x, f, m, bound


def _finest(lo: Lowering, op: FloatOp) -> int:
    """Scale of the arguments of bounded functions: they may keep more bits, since what comes out is narrow."""
    return min(TABLE_SCALE, lo.settings.m_of(op.out) - 4)


def clip(lo: Lowering, op: FloatOp) -> None:
    x, f, m, bound = _argument(lo, op, plan.Clip.most, _finest(lo, op))
    scale, half = x.scale - f, 1 << (m - 1)
    low, high = (round(max(-half, min(half - 1, op.attrs[k] * 2.0**scale))) for k in ("low", "high"))
    if high - low < 16:
        raise CompileError(
            f"layer {op.out!r}: its input is so large that {high - low + 1} steps are left between the bounds: put "
            "a batch norm before it"
        )
    made = plan.Clip(out=op.out, inputs=(x.name,), shape=op.shape, scale=scale, f=f, m=m, low=low, high=high)
    lo.reduce(made, x, bound, m - 1, f"{low} to {high}")
    reduced = x.interval.reduced(f, x.error, False)
    interval = Interval(np.clip(reduced.low, low, high), np.clip(reduced.high, low, high))
    lo.put(op.out, Value(op.out, op.shape, scale, interval, 0.0, lo.seen[op.out]))


def leaky_relu(lo: Lowering, op: FloatOp) -> None:
    x, f, m, bound = _argument(lo, op, lo.settings.m_of(op.out), 60)
    slope, scale = round(op.attrs["slope"] * 2**SLOPE_BITS), x.scale - f + SLOPE_BITS
    made = plan.LeakyRelu(
        out=op.out, inputs=(x.name,), shape=op.shape, scale=scale, f=f, m=m, slope=slope, bits=SLOPE_BITS
    )
    lo.reduce(made, x, bound, m - 1, f"slope {slope} / 2^{SLOPE_BITS}")
    reduced = x.interval.reduced(f, x.error, False).clipped(2.0 ** (m - 1))
    low, high = (np.where(v >= 0, v * 2**SLOPE_BITS, v * slope) for v in (reduced.low, reduced.high))
    value = Value(op.out, op.shape, scale, Interval(low, high), 0.0, lo.seen[op.out])
    lo.put(op.out, lo.truncate(value))


def curve(lo: Lowering, op: FloatOp) -> None:
    name = op.attrs["function"]
    line = smooth.SHAPES[name].line
    most = lo.settings.m_of(op.out) + 2 if line else plan.Lut.most
    x, f, m, bound = _argument(lo, op, most, _finest(lo, op))
    scale_in = x.scale - f
    if scale_in < 4:
        raise CompileError(
            f"layer {op.out!r}: its input is so large that steps of 2^{-scale_in} are left of it: put a batch norm before it"
        )
    scale = min(TABLE_SCALE, scale_in + 2) if line else TABLE_SCALE
    made = plan.Lut(out=op.out, inputs=(x.name,), shape=op.shape, scale=scale, f=f, m=m, function=name)
    table = plan.smooth_table(name, f, m, scale_in, scale)
    lo.reduce(made, x, bound, m - 1, f"{name}, error {table.error:.2g}")
    reduced = x.interval.reduced(f, x.error, False).clipped(2.0 ** (m - 1))
    low, high = (table.values(v.astype(np.int64)).astype(np.float64) for v in (reduced.low, reduced.high))
    least = float(table.values(np.arange(table.table.low, table.table.high + 1)).min())
    dips = np.full_like(low, least) if name in DIPPING else low
    interval = Interval(np.minimum(low, dips) - table.units, np.maximum(low, high) + table.units)
    lo.put(op.out, Value(op.out, op.shape, scale, interval, 0.0, lo.seen[op.out]))


def max_pool(lo: Lowering, op: FloatOp) -> None:
    second = lo.fused.get(op.out)
    _pool(lo, op.inputs[0], op, second or op, second is not None)


def _pool(lo: Lowering, source: str, window: FloatOp, last: FloatOp, relu: bool) -> None:
    x = lo.values[source]
    bound = lo.bound(x)
    m = lo.settings.m_of(last.out)
    f = dropped_bits(bound.value, x.error, m, not relu)
    lo.check_width(last.out, f, m, bound.value)
    scale = x.scale - f
    attrs = window.attrs
    made = plan.MaxPool(
        out=last.out, inputs=(x.name,), shape=last.shape, scale=scale, f=f, m=m, relu=relu, **attrs
    )
    lo.reduce(made, x, bound, m - 1 if relu else m - 2, "with the ReLU" if relu else "")
    reduced = x.interval.reduced(f, x.error, relu).clipped(2.0 ** (m - 1))
    low, high = (
        kernels.max_pool(v[None], attrs["kernel"], attrs["stride"], attrs["padding"])[0]
        for v in (reduced.low, reduced.high)
    )
    lo.put(last.out, Value(last.out, last.shape, scale, Interval(low, high), 0.0, lo.seen[last.out]))
