"""Quantisation: the integer form of the float graph becomes plan operations with integer weights.

Every tensor gets a power-of-two scale. Weights take as many bits as asked, less where the accumulator would
not fit. Each truncation drops the fewest bits for which its input fits, by a bound that is proved from the
integer weights (interval arithmetic, which for one layer is its L1 norm) where that costs at most one bit of
precision, else by the calibration set's extremes with headroom. One small method a kind of operation;
`HANDLERS` lists them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, count
from typing import Any

import numpy as np

from blindsight.mpc import smooth
from blindsight.nn import compact, kernels, plan
from blindsight.nn.floatnet import FloatGraph, FloatOp

from .bounds import ACCUMULATOR, LOGIT, Interval, dropped_bits, he_error
from .builder import CompileError

SLOPE_BITS = 11  # of the slope of a leaky ReLU
TABLE_SCALE = 12  # the finest scale of a table's arguments and results
DIPPING = ("silu", "gelu", "hardswish", "mish")  # fall before they rise
WIDE = 2.0**24  # a larger input of a weighted operation is truncated first


@dataclass(frozen=True)
class Value:
    """A tensor of the plan: where it is, its integer bounds, the error it carries and what calibration saw."""

    name: str
    shape: tuple[int, ...]
    scale: int
    interval: Interval
    error: float  # E, in units of this tensor; 0 after a truncation
    seen: float  # largest |real value| over the calibration set
    source: str | None = None  # the weighted operation that wrote it, whose scale may still be lowered


@dataclass(frozen=True)
class Fit:
    """Integer weights and bias of a layer, its accumulator, and how many of the wanted bits were lost to fit it."""

    made: Value
    weight: np.ndarray
    bias: np.ndarray
    lost: int
    bound: float


@dataclass(frozen=True)
class Row:
    """One line of the report."""

    layer: str
    kind: str
    shape: tuple[int, ...]
    scale: int
    detail: str
    bound: str = ""


@dataclass
class Settings:
    """Widths and headroom of a lowering; `caps` limits the accumulator scale of a weighted operation."""

    weight_bits: int
    m: int = 16
    headroom: float = 4.0
    caps: dict[str, int] = field(default_factory=dict)
    reveal: str = "top1"
    storage: str = "full"


SOFTMAX, SOFTMAX_SCALES = 2.0**29, (6, 26)  # F_Softmax: |logit| + E below, scales of the logits


class Again(Exception):
    """A cap was set: lower the network once more."""


@dataclass
class Lowering:
    """State of one lowering."""

    graph: FloatGraph
    seen: Mapping[str, float]
    settings: Settings
    ops: list[plan.Op] = field(default_factory=list)
    ints: dict[str, np.ndarray] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    truncated: dict[str, Value] = field(default_factory=dict)
    fused: dict[str, FloatOp] = field(default_factory=dict)

    def run(self) -> None:
        """Fill `ops`, `ints` and `rows`."""
        self._fuse()
        skip = {op.out for op in self.fused.values()}
        for op in self.graph.ops:
            if op.out not in skip:
                HANDLERS[op.op](self, op)
        logits = self.values[self.graph.ops[-1].out]
        if self.settings.reveal == "probabilities":
            logits = self._for_softmax(logits)
        bound, how = self.bound(logits)
        if bound >= (SOFTMAX if self.settings.reveal == "probabilities" else LOGIT):
            raise CompileError(
                f"layer {logits.name!r}: logits up to {bound:.3g} do not fit 2^30: use fewer weight bits"
            )
        out = self.fresh("output")
        self.ops.append(plan.Output(out=out, inputs=(logits.name,), shape=logits.shape, scale=logits.scale))
        self.rows.append(Row(out, "output", logits.shape, logits.scale, f"E {logits.error:.1f}", how))

    def _for_softmax(self, logits: Value) -> Value:
        """Logits at a scale that F_Softmax takes, 6 to 26."""
        if logits.scale > SOFTMAX_SCALES[1]:
            logits = self.truncate(logits, logits.scale - SOFTMAX_SCALES[1])
        if not SOFTMAX_SCALES[0] <= logits.scale <= SOFTMAX_SCALES[1]:
            raise CompileError(
                f"layer {logits.name!r}: probabilities need logits of scale {SOFTMAX_SCALES[0]} to {SOFTMAX_SCALES[1]}, "
                f"these have {logits.scale}: reveal logits, or put a batch norm before the last layer"
            )
        return logits

    def _fuse(self) -> None:
        """Max-pool before ReLU: they commute, and the pool compares fewer, wider values. Maps first to
        second.
        """
        for op in self.graph.ops:
            readers = self.graph.consumers(op.out)
            kinds = (op.op, readers[0].op if len(readers) == 1 else "")
            if kinds in (("relu", "max_pool"), ("max_pool", "relu")) and op.out not in {
                o.out for o in self.fused.values()
            }:
                self.fused[op.out] = readers[0]

    # --- common to the handlers ---

    def fresh(self, name: str) -> str:
        taken = {op.out for op in self.ops} | {op.out for op in self.graph.ops}
        return next(n for n in chain([name], (f"{name}.{i}" for i in count(1))) if n not in taken)

    def put(self, key: str, value: Value) -> None:
        self.values[key] = value

    def bound(self, x: Value) -> tuple[float, str]:
        """The bound of |x| + E that counts, and whence: proved where that is no more than twice the
        calibrated one.
        """
        proved = x.interval.peak + x.error
        calibrated = self.settings.headroom * x.seen * 2.0**x.scale + x.error
        if proved <= max(2 * calibrated, 1):
            return proved, f"|x| + E <= {proved:.4g} proved"
        return calibrated, f"|x| + E <= {calibrated:.4g} calibrated, headroom {self.settings.headroom:g}"

    def noisy(self, x: Value) -> bool:
        """Whether E, not the size of x, would decide the next truncation, by more than a bit or past its width."""
        bound, m = self.bound(x)[0], self.settings.m
        return dropped_bits(bound, x.error, m, True) > min(dropped_bits(bound, 0.0, m, True) + 1, 31 - m)

    def truncate(self, x: Value, least: int = 0) -> Value:
        """x in m bits, signed, at least so many bits dropped; one truncation serves all its readers."""
        if x.name not in self.truncated:
            bound, how = self.bound(x)
            m = self.settings.m
            f = max(dropped_bits(bound, x.error, m, True), least)
            self.check_width(x.name, f, m, bound)
            op = plan.Trunc(
                out=self.fresh(f"{x.name}.trunc"),
                inputs=(x.name,),
                shape=x.shape,
                scale=x.scale - f,
                f=f,
                m=m,
            )
            self.ops.append(op)
            self.rows.append(Row(op.out, op.kind, op.shape, op.scale, f"f {f}, m {m}", how))
            interval = x.interval.reduced(f, x.error, False).clipped(2.0 ** (m - 2))
            self.truncated[x.name] = Value(op.out, x.shape, op.scale, interval, 0.0, x.seen)
        return self.truncated[x.name]

    def check_width(self, name: str, f: int, m: int, bound: float) -> None:
        if m + f > 31:
            raise CompileError(
                f"layer {name!r}: values up to {bound:.4g} (error included) need f = {f}, and m + f may be 31 at most: "
                f"use fewer weight bits or a smaller m than {m}"
            )

    # --- handlers ---

    def input(self, op: FloatOp) -> None:
        self.ops.append(plan.Input(out=op.out, inputs=(), shape=op.shape, scale=0))
        self.rows.append(Row(op.out, "input", op.shape, 0, "pixels 0..255", "|x| <= 255 proved"))
        interval = Interval(np.zeros(op.shape), np.full(op.shape, 255.0))
        self.put(op.out, Value(op.out, op.shape, 0, interval, 0.0, 255.0))

    def weighted(self, op: FloatOp) -> None:
        x = self.values[op.inputs[0]]
        if x.error > 0 or self.bound(x)[0] >= WIDE:
            x = self.truncate(x)
        fit = self._fit(op, x)
        done = {t.name for t in self.truncated.values()}
        if fit.lost > 0 and x.name not in done and self.bound(x)[0] >= 2.0 ** (self.settings.m - 1):
            x = self.truncate(x)  # a narrower input leaves the weights their bits
            fit = self._fit(op, x)
        if fit.lost > self.settings.weight_bits - 4:
            raise CompileError(
                f"layer {op.out!r}: accumulators of {fit.bound:.4g} do not fit 2^29 with weights of 4 bits: train with "
                "weight decay or a batch norm after it, or calibrate with typical pictures"
            )
        width = max(2, int(np.abs(fit.weight.astype(np.int32)).max(initial=0)).bit_length() + 1)
        self.ints[f"{op.out}.weight"], self.ints[f"{op.out}.bias"] = fit.weight, fit.bias.astype(np.int32)
        scale = fit.made.scale
        common: dict[str, Any] = {
            **{"out": op.out, "inputs": (x.name,), "shape": op.shape, "scale": scale},
            **{"weight": f"{op.out}.weight", "bias": f"{op.out}.bias"},
            **{"weight_bits": width, "weight_scale": scale - x.scale},
        }
        if op.op == "conv2d":
            self.ops.append(plan.Conv2d(**common, **op.attrs, bias_map=fit.bias.ndim == 3))
        else:
            self.ops.append(plan.Linear(**common))
        detail = f"weights {width} bits at 2^{scale - x.scale}, E {fit.made.error:.1f}"
        self.rows.append(Row(op.out, op.op, op.shape, scale, detail, self.bound(fit.made)[1]))
        self.put(op.out, fit.made)

    def _fit(self, op: FloatOp, x: Value) -> Fit:
        """Integer weights for `op` on x, of the settings' bits less what the accumulator has no room for."""
        weight, bias = self.graph.array(op, "weight"), self.graph.array(op, "bias")
        peak = float(np.abs(weight).max(initial=0))
        bits = self.settings.weight_bits
        full = 0 if peak == 0 else math.floor(math.log2(((1 << (bits - 1)) - 1) / peak))
        full = max(min(full, 40, 60 - x.scale), -20)
        start = min(full, self.settings.caps.get(op.out, 60) - x.scale)
        for shift in range(start, start - bits - 16, -1):
            scale = x.scale + shift
            real = weight * 2.0**shift
            w = (
                compact.quantise(real)
                if self.settings.storage == "compact"
                else np.rint(real).astype(np.int16)
            )
            b = np.rint(bias * 2.0**scale)
            wide = b.reshape(-1, 1, 1) if op.op == "conv2d" and b.ndim == 1 else b
            if op.op == "conv2d":
                a = op.attrs
                interval = x.interval.convolve(w, wide, a["stride"], a["padding"], a["groups"])
            else:
                interval = x.interval.multiply(w, wide)
            made = Value(op.out, op.shape, scale, interval, 0.0, self.seen[op.out], op.out)
            enough = 2.0 ** (dropped_bits(self.bound(made)[0], 0.0, self.settings.m, False) - 4)
            made = replace(made, error=he_error(w, op, x.shape, enough))
            bound = max(self.bound(made)[0], float(np.abs(b).max(initial=0)))
            if bound < ACCUMULATOR:
                break
        return Fit(made, w, b, full - shift if bound < ACCUMULATOR else bits, bound)

    def relu(self, op: FloatOp) -> None:
        second = self.fused.get(op.out)
        if second is not None:
            self._pool(op.inputs[0], second, second, True)
            return
        x = self.values[op.inputs[0]]
        bound, how = self.bound(x)
        m = self.settings.m
        f = dropped_bits(bound, x.error, m, False)
        self.check_width(op.out, f, m, bound)
        self.ops.append(plan.Relu(out=op.out, inputs=(x.name,), shape=op.shape, scale=x.scale - f, f=f, m=m))
        self.rows.append(Row(op.out, "relu", op.shape, x.scale - f, f"f {f}, m {m}", how))
        interval = x.interval.reduced(f, x.error, True).clipped(2.0 ** (m - 1))
        self.put(op.out, Value(op.out, op.shape, x.scale - f, interval, 0.0, self.seen[op.out]))

    def _argument(self, op: FloatOp, most: int, finest: int) -> tuple[Value, int, int, str]:
        """Input of a function, bits to drop, and the fewest to keep for its bound: at most `most`, and no finer than
        the scale `finest`.
        """
        x = self.values[op.inputs[0]]
        bound, how = self.bound(x)
        f = max(dropped_bits(bound, x.error, most, False), x.scale - finest)
        m = most
        while m > 8 and bound < 2.0 ** (m - 2 + f) - 2.0**f:
            m -= 1
        self.check_width(op.out, f, m, bound)
        return x, f, m, how

    @property
    def _finest(self) -> int:
        """Scale of the arguments of bounded functions: they may keep more bits, since what comes out is narrow."""
        return min(TABLE_SCALE, self.settings.m - 4)

    def clip(self, op: FloatOp) -> None:
        x, f, m, how = self._argument(op, plan.Clip.most, self._finest)
        scale, half = x.scale - f, 1 << (m - 1)
        low, high = (round(max(-half, min(half, op.attrs[k] * 2.0**scale))) for k in ("low", "high"))
        if high - low < 16:
            raise CompileError(
                f"layer {op.out!r}: its input is so large that {high - low + 1} steps are left between the bounds: put "
                "a batch norm before it"
            )
        self.ops.append(
            plan.Clip(out=op.out, inputs=(x.name,), shape=op.shape, scale=scale, f=f, m=m, low=low, high=high)
        )
        self.rows.append(Row(op.out, "clip", op.shape, scale, f"f {f}, m {m}, {low} to {high}", how))
        reduced = x.interval.reduced(f, x.error, False)
        interval = Interval(np.clip(reduced.low, low, high), np.clip(reduced.high, low, high))
        self.put(op.out, Value(op.out, op.shape, scale, interval, 0.0, self.seen[op.out]))

    def leaky_relu(self, op: FloatOp) -> None:
        x, f, m, how = self._argument(op, self.settings.m, 60)
        slope, scale = round(op.attrs["slope"] * 2**SLOPE_BITS), x.scale - f + SLOPE_BITS
        made = plan.LeakyRelu(
            out=op.out, inputs=(x.name,), shape=op.shape, scale=scale, f=f, m=m, slope=slope, bits=SLOPE_BITS
        )
        self.ops.append(made)
        self.rows.append(
            Row(op.out, "leaky_relu", op.shape, scale, f"f {f}, m {m}, slope {slope} / 2^{SLOPE_BITS}", how)
        )
        reduced = x.interval.reduced(f, x.error, False).clipped(2.0 ** (m - 1))
        low, high = (np.where(v >= 0, v * 2**SLOPE_BITS, v * slope) for v in (reduced.low, reduced.high))
        value = Value(op.out, op.shape, scale, Interval(low, high), 0.0, self.seen[op.out])
        self.put(op.out, self.truncate(value))

    def smooth(self, op: FloatOp) -> None:
        name = op.attrs["function"]
        line = smooth.SHAPES[name].line
        x, f, m, how = self._argument(op, self.settings.m + 2 if line else plan.Lut.most, self._finest)
        scale_in = x.scale - f
        if scale_in < 4:
            raise CompileError(
                f"layer {op.out!r}: its input is so large that steps of 2^{-scale_in} are left of it: put a batch norm before it"
            )
        scale = min(TABLE_SCALE, scale_in + 2) if line else TABLE_SCALE
        made = plan.Lut(out=op.out, inputs=(x.name,), shape=op.shape, scale=scale, f=f, m=m, function=name)
        table = plan.smooth_table(name, f, m, scale_in, scale)
        self.ops.append(made)
        detail = f"{name}, f {f}, m {m}, error {table.error:.2g}"
        self.rows.append(Row(op.out, "lut", op.shape, scale, detail, how))
        reduced = x.interval.reduced(f, x.error, False).clipped(2.0 ** (m - 1))
        low, high = (table.values(v.astype(np.int64)).astype(np.float64) for v in (reduced.low, reduced.high))
        least = float(table.values(np.arange(table.table.low, table.table.high + 1)).min())
        dips = np.full_like(low, least) if name in DIPPING else low
        interval = Interval(np.minimum(low, dips) - table.units, np.maximum(low, high) + table.units)
        self.put(op.out, Value(op.out, op.shape, scale, interval, 0.0, self.seen[op.out]))

    def max_pool(self, op: FloatOp) -> None:
        second = self.fused.get(op.out)
        self._pool(op.inputs[0], op, second or op, second is not None)

    def _pool(self, source: str, window: FloatOp, last: FloatOp, relu: bool) -> None:
        x = self.values[source]
        bound, how = self.bound(x)
        m = self.settings.m
        f = dropped_bits(bound, x.error, m, not relu)
        self.check_width(last.out, f, m, bound)
        scale = x.scale - f
        attrs = window.attrs
        self.ops.append(
            plan.MaxPool(
                out=last.out, inputs=(x.name,), shape=last.shape, scale=scale, f=f, m=m, relu=relu, **attrs
            )
        )
        self.rows.append(Row(last.out, "max_pool", last.shape, scale, f"f {f}, m {m}, relu {relu}", how))
        reduced = x.interval.reduced(f, x.error, relu).clipped(2.0 ** (m - 1))
        low, high = (
            kernels.max_pool(v[None], attrs["kernel"], attrs["stride"], attrs["padding"])[0]
            for v in (reduced.low, reduced.high)
        )
        self.put(last.out, Value(last.out, last.shape, scale, Interval(low, high), 0.0, self.seen[last.out]))

    def avg_pool(self, op: FloatOp) -> None:
        x = self.values[op.inputs[0]]
        divisor = op.attrs["divisor"]
        if divisor & (divisor - 1) and self.bound(x)[0] >= 2.0**self.settings.m:
            x = self.truncate(x)  # leaves room for a factor of many bits
        narrow = x.error == 0 and x.interval.peak < 2.0**self.settings.m
        if not self._sum(op, x) and (narrow or not self._sum(op, self.truncate(x))):
            raise CompileError(
                f"layer {op.out!r}: sums over {op.attrs['kernel']} do not fit 2^29: pool in two steps"
            )

    def _sum(self, op: FloatOp, x: Value) -> bool:
        a = op.attrs
        low, high = (
            kernels.sum_pool(v[None], a["kernel"], a["stride"], a["padding"])[0]
            for v in (x.interval.low, x.interval.high)
        )
        exact = (a["divisor"] - 1).bit_length()
        rough = a["divisor"] != 1 << exact
        for p in (
            range(exact + 10, exact + 3, -1) if rough else [exact]
        ):  # a factor of 5 to 11 bits, exact at 1
            factor = round((1 << p) / a["divisor"])
            error = x.error * math.prod(a["kernel"]) * factor
            interval = Interval(low * factor, high * factor)
            made = Value(op.out, op.shape, x.scale + p, interval, error, self.seen[op.out])
            bound, how = self.bound(made)
            if bound < ACCUMULATOR:
                break
        else:
            return False
        if self.noisy(made):
            return False
        self.ops.append(
            plan.SumPool(
                out=op.out,
                inputs=(x.name,),
                shape=op.shape,
                scale=made.scale,
                kernel=a["kernel"],
                stride=a["stride"],
                padding=a["padding"],
                factor=factor,
            )
        )
        self.rows.append(Row(op.out, "sum_pool", op.shape, made.scale, f"times {factor} / 2^{p}", how))
        self.put(op.out, made)
        return True

    def join(self, op: FloatOp) -> None:
        """add and concat: the inputs shifted left to the highest scale among them."""
        parts = [self.values[name] for name in op.inputs]
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
            made = Value(op.out, op.shape, scale, interval, error, self.seen[op.out])
            bound, how = self.bound(made)
            parts_fit = all(self.bound(x)[0] * 2.0**s < LOGIT for x, s in zip(parts, shifts, strict=True))
            if bound < ACCUMULATOR and parts_fit and max(shifts) <= 30:
                loud = max(range(len(parts)), key=lambda i: errors[i])
                if not (self.noisy(made) and shifts[loud] > 0):
                    break
                parts[loud] = self.truncate(parts[loud])  # its E, shifted left, would drown the others
                continue
            for i, x in enumerate(parts):  # too large: lower what stands highest
                if x.scale != scale:
                    continue
                if x.source is not None:
                    self.settings.caps[x.source] = scale - 1
                    raise Again
                if x.name in {t.name for t in self.truncated.values()} or x.error == 0:
                    raise CompileError(
                        f"layer {op.out!r}: inputs of very different size ({bound:.3g} at the common scale): put a "
                        "batch norm before it"
                    )
                parts[i] = self.truncate(x)
        kind = plan.Add if op.op == "add" else plan.Concat
        names = tuple(x.name for x in parts)
        self.ops.append(kind(out=op.out, inputs=names, shape=op.shape, scale=scale, shift=shifts))
        self.rows.append(Row(op.out, op.op, op.shape, scale, f"shifts {list(shifts)}", how))
        self.put(op.out, made)

    def reshape(self, op: FloatOp) -> None:
        x = self.values[op.inputs[0]]
        self.ops.append(plan.Reshape(out=op.out, inputs=(x.name,), shape=op.shape, scale=x.scale))
        interval = Interval(x.interval.low.reshape(op.shape), x.interval.high.reshape(op.shape))
        self.put(op.out, replace(x, name=op.out, shape=op.shape, interval=interval))

    def move(self, op: FloatOp) -> None:
        """slice and permute: elements move, and zeros may come in."""
        x = self.values[op.inputs[0]]
        if len(op.shape) > 3:
            raise CompileError(
                f"layer {op.out!r}: shape {list(op.shape)} is not a picture's: reshape it right after"
            )
        kind, kernel = (plan.Slice, kernels.slices) if op.op == "slice" else (plan.Permute, kernels.permute)
        self.ops.append(kind(out=op.out, inputs=(x.name,), shape=op.shape, scale=x.scale, **op.attrs))
        first, second = op.attrs.values()
        low, high = (kernel(v[None], first, second, op.shape)[0] for v in (x.interval.low, x.interval.high))
        self.put(op.out, replace(x, name=op.out, shape=op.shape, interval=Interval(low, high), source=None))


HANDLERS: dict[str, Callable[[Lowering, FloatOp], None]] = {
    "input": Lowering.input,
    "conv2d": Lowering.weighted,
    "linear": Lowering.weighted,
    "relu": Lowering.relu,
    "clip": Lowering.clip,
    "leaky_relu": Lowering.leaky_relu,
    "smooth": Lowering.smooth,
    "max_pool": Lowering.max_pool,
    "avg_pool": Lowering.avg_pool,
    "add": Lowering.join,
    "concat": Lowering.join,
    "reshape": Lowering.reshape,
    "slice": Lowering.move,
    "permute": Lowering.move,
}


def lower(graph: FloatGraph, seen: Mapping[str, float], settings: Settings) -> Lowering:
    """Lower `graph` (from `fold.integer_form`); CompileError names the layer, its bound and the remedy."""
    for _ in range(64):
        lowering = Lowering(graph, seen, settings)
        try:
            lowering.run()
        except Again:
            continue
        return lowering
    raise CompileError("the scales of the additions do not settle: put batch norms before them")
