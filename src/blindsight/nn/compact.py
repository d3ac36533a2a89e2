"""Compact storage of integer weights: 8-bit mantissas and one left shift for each output channel.

A layer's weights stay integers of up to 16 bits at one scale, so its accumulator has one scale and one truncation, and
nothing about a channel enters the public plan; the shifts are stored, and shared in a concealed model, as part of the
weights. A compact model keeps no float weights: its float reference is the network of the dequantised weights,
weight / 2^weight_scale and bias / 2^scale, on raw pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from .floatnet import FloatGraph, FloatOp
from .plan import Plan, PlanError

MANTISSA = 127  # largest |mantissa|
MAX_SHIFT = 8


def quantise(weight: np.ndarray) -> np.ndarray:
    """Real weights (out, ...) to integers of at most 8 significant bits in a channel: int16, |w| <= 2^15 - 1.

    A channel whose largest weight lies below 128 is rounded to integers; a larger one to multiples of a power of two.
    """
    peaks = np.abs(weight).reshape(len(weight), -1).max(axis=1, initial=0)
    shift = np.maximum(np.ceil(np.log2(np.maximum(peaks, 1) / (MANTISSA + 1))), 0)
    step = (2.0**shift).reshape(-1, *(1,) * (weight.ndim - 1))
    return (np.clip(np.rint(weight / step), -MANTISSA, MANTISSA) * step).astype(np.int16)


def pack(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integer weights int16 (out, ...) as mantissas int8 of the same shape and shifts uint8 (out,).

    Raises:
        PlanError: a channel has more than 8 significant bits.
    """
    rows = weight.reshape(len(weight), -1).astype(np.int32)
    used = np.bitwise_or.reduce(np.abs(rows), axis=1)
    shift = np.array([(int(u) & -int(u)).bit_length() - 1 if u else 0 for u in used], np.int32)
    shift = np.minimum(shift, MAX_SHIFT)
    mantissa = rows >> shift[:, None]
    if np.abs(mantissa).max(initial=0) > MANTISSA:
        raise PlanError("weights of more than 8 significant bits a channel: compile with --storage compact")
    return mantissa.astype(np.int8).reshape(weight.shape), shift.astype(np.uint8)


def unpack(mantissa: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The integer weights int16 of `pack`; PlanError where the two arrays do not belong together."""
    paired = mantissa.ndim > 0 and mantissa.size > 0 and shift.shape == mantissa.shape[:1]
    if mantissa.dtype != np.int8 or shift.dtype != np.uint8 or not paired:
        raise PlanError("compact weights without a shift for each channel: compile the model again")
    if shift.max(initial=0) > MAX_SHIFT or mantissa.min(initial=0) < -MANTISSA:
        raise PlanError("compact weights out of range: compile the model again")
    wide = mantissa.reshape(len(mantissa), -1).astype(np.int16) << shift.astype(np.int16)[:, None]
    return wide.reshape(mantissa.shape)


class Dequantised(Mapping[str, np.ndarray]):
    """The float32 arrays of a compact model, made from the integers when they are read."""

    def __init__(self, plan: Plan, ints: Mapping[str, np.ndarray]) -> None:
        self._ints = ints
        self._scales = {op.weight: op.weight_scale for op in plan.weighted}
        self._scales |= {op.bias: op.scale for op in plan.weighted}

    def __getitem__(self, name: str) -> np.ndarray:
        return np.multiply(self._ints[name], np.float32(2.0 ** -self._scales[name]), dtype=np.float32)

    def __contains__(self, name: object) -> bool:
        return name in self._scales

    def shape_of(self, name: str) -> tuple[int, ...]:
        """The shape alone, without making the array."""
        return self._ints[name].shape

    def __iter__(self) -> Iterator[str]:
        return iter(self._scales)

    def __len__(self) -> int:
        return len(self._scales)


def reference(plan: Plan, ints: Mapping[str, np.ndarray], graph: FloatGraph) -> FloatGraph:
    """`graph`, the compiler's on raw pixels, with the dequantised weights of the plan's operations of the same names."""
    named = {op.out: {"weight": op.weight, "bias": op.bias} for op in plan.weighted}

    def bound(op: FloatOp) -> FloatOp:
        return replace(op, tensors={k: named[op.out][k] for k in op.tensors})

    return FloatGraph([bound(op) for op in graph.ops], Dequantised(plan, ints), graph.mean, graph.std)
