"""The `ideal` network: the fixed-point function that the secure run realises. For tests, calibration, the
compiler.

It is a stand-in that sees everything in the clear; no service uses it. Two forms:

- `run_shares` is exact: given the shares of the pixels and a `Tape` (the helper's share of every tensor and
the error of every linear operation) it gives both parties' shares bit for bit as a secure run with the same
ones does (of a `lut` within the table's documented error, `Smooth.units`: the function itself is taken,
rounded once). Truncation depends on the shares alone: each party drops the low bits of its own.
- `run_values`
works on numbers, a batch at once, with the truncation's rounding drawn at random: floor or floor + 1, the
latter with probability (low bits + 1) / 2^f, as uniform shares give it (docs/numerics.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from . import kernels
from .plan import (
    Add,
    Clip,
    Concat,
    Conv2d,
    Input,
    LeakyRelu,
    Linear,
    Lut,
    MaxPool,
    Op,
    Output,
    Permute,
    Plan,
    PlanError,
    ReducedOp,
    Relu,
    Reshape,
    Slice,
    SumPool,
    Trunc,
    WeightedOp,
)

Ints = Mapping[str, np.ndarray]
MASK = 0xFFFFFFFF


class Tape(Protocol):
    """What chance decides in a secure run."""

    def helper(self, op: Op) -> np.ndarray:
        """The helper's share of the operation's output, uint32 of `op.shape`."""

    def error(self, op: WeightedOp) -> np.ndarray:
        """The error of the linear operation's accumulator, int of `op.shape`."""


@dataclass
class RandomTape:
    """Uniform shares and, where `most` is set, errors uniform in [-most, most]."""

    rng: np.random.Generator = field(default_factory=np.random.default_rng)
    most: int = 0

    def helper(self, op: Op) -> np.ndarray:
        return self.rng.integers(0, 1 << 32, op.shape, np.uint32)

    def error(self, op: WeightedOp) -> np.ndarray:
        return self.rng.integers(-self.most, self.most + 1, op.shape, np.int64)


def signed(x: np.ndarray) -> np.ndarray:
    """Ring elements as int64 in [-2^31, 2^31)."""
    return x.astype(np.uint32).view(np.int32).astype(np.int64)


def run_shares(
    plan: Plan, ints: Ints, x0: np.ndarray, x1: np.ndarray, tape: Tape
) -> tuple[np.ndarray, np.ndarray]:
    """Both shares, uint32 (classes,), of the logits, from the shares uint32 (C, H, W) of one picture.

    Reveal modes act on these logits. Values out of bounds wrap as they do in the ring.
    """
    shares: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for op in plan:
        if isinstance(op, Input):
            shares[op.out] = (x0.astype(np.uint32), x1.astype(np.uint32))
            continue
        pairs = [shares[name] for name in op.inputs]
        if isinstance(op, WeightedOp):
            value = _weighted(op, ints, signed(pairs[0][0] + pairs[0][1])[None], kernels.exact_matmul)[0]
            shares[op.out] = _split(op, value + tape.error(op), tape)
        elif isinstance(op, ReducedOp):
            reduced = [_drop(pairs[0][party], op.f, party) for party in (0, 1)]
            small = (reduced[0] + reduced[1]).astype(np.int64)
            shares[op.out] = _split(op, _nonlinear(plan, op, small[None])[0], tape)
        else:
            made = [_local(op, [pair[party].astype(np.int64)[None] for pair in pairs])[0] for party in (0, 1)]
            shares[op.out] = ((made[0] & MASK).astype(np.uint32), (made[1] & MASK).astype(np.uint32))
    return shares[plan.ops[-1].out]


def run_values(
    plan: Plan,
    ints: Ints,
    pictures: np.ndarray,
    rng: np.random.Generator,
    batch: int = 32,
    tap: Callable[[Op, np.ndarray], None] | None = None,
) -> np.ndarray:
    """Logits int64 (N, classes) of pictures uint8 (N, H, W, C), truncations rounded at random.

    `tap` is called with every operation and its values int64 (n, *shape).
    """
    if pictures.dtype != np.uint8 or pictures.shape[1:] != (plan.height, plan.width, plan.channels):
        raise PlanError(
            f"pictures are {pictures.dtype} {pictures.shape[1:]}, the plan takes uint8 "
            f"{(plan.height, plan.width, plan.channels)}"
        )
    parts = [
        _run_batch(plan, ints, pictures[i : i + batch], rng, tap) for i in range(0, len(pictures), batch)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, plan.classes), np.int64)


def _run_batch(
    plan: Plan,
    ints: Ints,
    pictures: np.ndarray,
    rng: np.random.Generator,
    tap: Callable[[Op, np.ndarray], None] | None,
) -> np.ndarray:
    values: dict[str, np.ndarray] = {}
    last = {name: op.out for op in plan for name in op.inputs}
    for op in plan:
        if isinstance(op, Input):
            y = pictures.transpose(0, 3, 1, 2).astype(np.int64)
        else:
            x = [values[name] for name in op.inputs]
            if isinstance(op, WeightedOp):
                y = _weighted(op, ints, x[0], None)
            elif isinstance(op, ReducedOp):
                up = (
                    rng.integers(0, 1 << op.f, x[0].shape, np.int64) <= (x[0] & ((1 << op.f) - 1))
                    if op.f
                    else 0
                )
                y = _nonlinear(plan, op, (x[0] >> op.f) + up)
            else:
                y = _local(op, x)
        values[op.out] = y
        if tap:
            tap(op, y)
        for name in op.inputs:
            if last[name] == op.out:
                values.pop(name, None)
    return values[plan.ops[-1].out]


def _split(op: Op, value: np.ndarray, tape: Tape) -> tuple[np.ndarray, np.ndarray]:
    helper = tape.helper(op).astype(np.uint32).reshape(op.shape)
    return (value & MASK).astype(np.uint32) - helper, helper


def _drop(share: np.ndarray, f: int, party: int) -> np.ndarray:
    """F_TR(f) on one party's share: mod 2^(32-f), the cloud adds 2^f first; f = 0 is the identity."""
    add = np.uint32(1 << f if party == 0 and f else 0)
    return (share + add) >> np.uint32(f)


def _wrap(x: np.ndarray, bits: int) -> np.ndarray:
    """Two's complement of the low `bits`."""
    half = 1 << (bits - 1)
    return ((x + half) & ((1 << bits) - 1)) - half


def _nonlinear(plan: Plan, op: ReducedOp, x: np.ndarray) -> np.ndarray:
    """Reduced values (n, *in) to the output values."""
    if isinstance(op, MaxPool):
        y = _wrap(kernels.max_pool(_wrap(x, op.m + 1), op.kernel, op.stride, op.padding), op.m)
        return np.maximum(y, 0) if op.relu else y
    y = _wrap(x, op.m)
    if isinstance(op, Relu):
        return np.maximum(y, 0)
    if isinstance(op, Trunc):
        return y
    if isinstance(op, LeakyRelu):
        return np.where(y >= 0, y << op.bits, y * op.slope)
    wide = _wrap(x, op.m + 1)
    if isinstance(op, Clip):
        return np.clip(wide, op.low, op.high)
    if isinstance(op, Lut):
        return op.table(plan.op(op.inputs[0])).values(wide)
    raise PlanError(f"operation {op.out!r}: no ideal form of {op.kind}")


def _local(op: Op, x: list[np.ndarray]) -> np.ndarray:
    """Operations that each party does on its own share alone, batched."""
    if isinstance(op, Add):
        return sum((v << s for v, s in zip(x, op.shift, strict=True)), start=np.zeros_like(x[0]))
    if isinstance(op, Concat):
        return np.concatenate([v << s for v, s in zip(x, op.shift, strict=True)], axis=1)
    if isinstance(op, Reshape | Output):
        return x[0].reshape(len(x[0]), *op.shape)
    if isinstance(op, Slice):
        return kernels.slices(x[0], op.start, op.step, op.shape)
    if isinstance(op, Permute):
        return kernels.permute(x[0], op.view, op.axes, op.shape)
    if isinstance(op, SumPool):
        return kernels.sum_pool(x[0], op.kernel, op.stride, op.padding) * op.factor
    raise PlanError(f"operation {op.out!r}: no ideal form of {op.kind}")


def _weighted(op: WeightedOp, ints: Ints, x: np.ndarray, matmul: kernels.Matmul | None) -> np.ndarray:
    """The accumulator of a linear operation; without `matmul` in float64, exact below 2^53."""
    weight, bias = ints[op.weight], ints[op.bias].astype(np.int64)
    if matmul is None:
        x, weight = x.astype(np.float64), weight.astype(np.float64)
        y = _product(op, weight, x, np.matmul).astype(np.int64)
    else:
        y = _product(op, weight.astype(np.int64), x, matmul)
    return y + (bias[:, None, None] if isinstance(op, Conv2d) and not op.bias_map else bias)


def _product(op: WeightedOp, weight: np.ndarray, x: np.ndarray, matmul: kernels.Matmul) -> np.ndarray:
    if isinstance(op, Conv2d):
        return kernels.conv2d(x, weight, op.stride, op.padding, op.groups, matmul)
    if isinstance(op, Linear):
        return matmul(weight, x.T).T
    raise PlanError(f"operation {op.out!r}: no ideal form of {op.kind}")
