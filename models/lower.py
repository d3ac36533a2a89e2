"""Quantisation: the integer form of the float graph becomes plan operations with integer weights.

Every tensor gets a power-of-two scale. Weights take as many bits as asked, less where the accumulator would
not fit. Each truncation drops the fewest bits for which its input fits, by a bound that is proved from the
integer weights (interval arithmetic, which for one layer is its L1 norm) where that costs at most one bit of
precision, else by the calibration set's extremes with headroom. One small function a kind of operation
(`lower_functions`, `lower_local`, and the weighted ones here); `HANDLERS` lists them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, count
from typing import Any

import numpy as np

from blindsight.nn import compact, plan
from blindsight.nn.floatnet import FloatGraph, FloatOp

from . import lower_functions, lower_local
from .bounds import ACCUMULATOR, LOGIT, Interval, dropped_bits, he_error
from .builder import CompileError
from .state import Again, Bound, Fit, Row, Settings, Value

WIDE = 2.0**24  # a larger input of a weighted operation is truncated first
ALONE = 2.0**24  # units of the largest bias of a layer whose weights are zero
HARMLESS = (
    2.0**-8
)  # of the differences of its biases: by so much weights of fewer than 4 bits may move a layer

SOFTMAX, SOFTMAX_SCALES = 2.0**29, (6, 26)  # F_Softmax: |logit| + E below, scales of the logits


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
        bound, limit = self.bound(logits), SOFTMAX if self.settings.reveal == "probabilities" else LOGIT
        if bound.value >= limit:
            raise CompileError(
                f"layer {logits.name!r}: logits up to {bound.value:.3g} do not fit 2^30: use fewer weight bits"
            )
        out = self.fresh("output")
        made = plan.Output(out=out, inputs=(logits.name,), shape=logits.shape, scale=logits.scale)
        self.emit(made, f"E {logits.error:.1f}", bound, limit)

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

    def emit(
        self, op: plan.Op, detail: str, bound: Bound | None = None, limit: float = 0.0, **more: Any
    ) -> None:
        """Append an operation and its row of the report."""
        self.ops.append(op)
        self.rows.append(Row(op.out, op.kind, op.shape, op.scale, detail, bound, limit, **more))

    def reduce(self, op: plan.ReducedOp, x: Value, bound: Bound, width: int, detail: str = "") -> None:
        """Append an operation that truncates x, of which `width` bits and a sign fit."""
        limit = 2.0 ** (width + op.f) - (2.0**op.f if op.f else 0)
        text = ", ".join(part for part in (f"f {op.f}", f"m {op.m}", detail) if part)
        self.emit(op, text, bound, limit, m=op.m, f=op.f, origin=x.origin or x.name)

    def bound(self, x: Value) -> Bound:
        """The bound of |x| + E that counts, and whence: proved where that is no more than twice the
        calibrated one.
        """
        proved, headroom = x.interval.peak + x.error, self.settings.headroom
        calibrated = headroom * x.seen * 2.0**x.scale + x.error
        if proved <= max(2 * calibrated, 1):
            return Bound(proved, True, headroom)
        return Bound(calibrated, False, headroom)

    def noisy(self, x: Value) -> bool:
        """Whether E, not the size of x, would decide the next truncation, by more than a bit or past its width."""
        bound, m = self.bound(x).value, self.settings.m
        return dropped_bits(bound, x.error, m, True) > min(dropped_bits(bound, 0.0, m, True) + 1, 31 - m)

    def truncate(self, x: Value, least: int = 0) -> Value:
        """x in m bits, signed, at least so many bits dropped; one truncation serves all its readers."""
        if x.name not in self.truncated:
            bound, out = self.bound(x), self.fresh(f"{x.name}.trunc")
            m = self.settings.m_of(out)
            f = max(dropped_bits(bound.value, x.error, m, True), least)
            self.check_width(x.name, f, m, bound.value)
            op = plan.Trunc(out=out, inputs=(x.name,), shape=x.shape, scale=x.scale - f, f=f, m=m)
            self.reduce(op, x, bound, m - 2)
            interval = x.interval.reduced(f, x.error, False).clipped(2.0 ** (m - 2))
            made = Value(op.out, x.shape, op.scale, interval, 0.0, x.seen, None, x.origin or x.name)
            self.truncated[x.name] = made
        return self.truncated[x.name]

    def check_width(self, name: str, f: int, m: int, bound: float) -> None:
        if m + f > 31:
            raise CompileError(
                f"layer {name!r}: values up to {bound:.4g} (error included) need f = {f}, and m + f may be 31 at most: "
                f"use fewer weight bits or a smaller m than {m}"
            )

    # --- handlers ---

    def input(self, op: FloatOp) -> None:
        made = plan.Input(out=op.out, inputs=(), shape=op.shape, scale=0)
        self.emit(made, "pixels 0..255", Bound(255.0, True, 1.0), 256.0)
        interval = Interval(np.zeros(op.shape), np.full(op.shape, 255.0))
        self.put(op.out, Value(op.out, op.shape, 0, interval, 0.0, 255.0))

    def weighted(self, op: FloatOp) -> None:
        x = self.values[op.inputs[0]]
        if x.error > 0 or self.bound(x).value >= WIDE:
            x = self.truncate(x)
        fit, bits = self._fit(op, x), self.settings.bits_of(op.out)
        done = {t.name for t in self.truncated.values()}
        wide = self.bound(x).value > 2.0 ** (self.settings.m - 1) or bits - fit.lost < 8
        if fit.lost > 0 and x.name not in done and wide:
            x = self.truncate(x)  # a narrower input leaves the weights their bits
            fit = self._fit(op, x)
        refused = fit.lost > bits - 4 and self._harm(op, x, fit) > HARMLESS * np.ptp(
            self.graph.array(op, "bias")
        )
        if refused and op.out in self.settings.caps and fit.bound < ACCUMULATOR:
            raise CompileError(
                f"layer {op.out!r}: its output, up to {fit.made.seen:.3g}, is added to values so much larger that weights "
                "of 4 bits would not be left: put a batch norm before the addition"
            )
        if refused:
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
            made: plan.WeightedOp = plan.Conv2d(**common, **op.attrs, bias_map=fit.bias.ndim == 3)
        else:
            made = plan.Linear(**common)
        detail = f"weights {width} bits at 2^{scale - x.scale}, E {fit.made.error:.1f}"
        self.emit(made, detail, self.bound(fit.made), ACCUMULATOR, bits=width)
        self.put(op.out, fit.made)

    def _harm(self, op: FloatOp, x: Value, fit: Fit) -> float:
        """How far the rounding of weights may move an output, at most; all the way where nothing fits."""
        if fit.bound >= ACCUMULATOR:
            return math.inf
        shift = 2.0 ** (fit.made.scale - x.scale)
        rounded = np.abs(self.graph.array(op, "weight") - fit.weight / shift)
        return (
            float(rounded.reshape(len(rounded), -1).sum(axis=1).max()) * self.bound(x).value * 2.0**-x.scale
        )

    def _fit(self, op: FloatOp, x: Value) -> Fit:
        """Integer weights for `op` on x, of the settings' bits less what the accumulator has no room for."""
        weight, bias = self.graph.array(op, "weight"), self.graph.array(op, "bias")
        peak, offset = (float(np.abs(v).max(initial=0)) for v in (weight, bias))
        bits = self.settings.bits_of(op.out)
        full = bits if peak == 0 else math.floor(math.log2(((1 << (bits - 1)) - 1) / peak))
        if peak == 0 < offset:  # nothing but a bias
            full = math.floor(math.log2(ALONE / offset)) - x.scale
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
            enough = 2.0 ** (dropped_bits(self.bound(made).value, 0.0, self.settings.m, False) - 4)
            made = replace(made, error=he_error(w, op, x.shape, enough))
            bound = max(self.bound(made).value, float(np.abs(b).max(initial=0)))
            if bound < ACCUMULATOR:
                break
        return Fit(made, w, b, full - shift if bound < ACCUMULATOR else bits, bound)


HANDLERS: dict[str, Callable[[Lowering, FloatOp], None]] = {
    "input": Lowering.input,
    "conv2d": Lowering.weighted,
    "linear": Lowering.weighted,
    "relu": lower_functions.relu,
    "clip": lower_functions.clip,
    "leaky_relu": lower_functions.leaky_relu,
    "smooth": lower_functions.curve,
    "max_pool": lower_functions.max_pool,
    "avg_pool": lower_local.avg_pool,
    "add": lower_local.join,
    "concat": lower_local.join,
    "reshape": lower_local.reshape,
    "slice": lower_local.move,
    "permute": lower_local.move,
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
