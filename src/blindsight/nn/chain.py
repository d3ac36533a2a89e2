"""The chain of a plan's operations: each reads what was written before it, and every tensor is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from .ops import MAX_ELEMENTS, MAX_SCALE, Conv2d, Input, Linear, Op, Output, PlanError, WeightedOp

_TENSOR = re.compile(r"[A-Za-z0-9_.]{1,128}")


def checked(ops: Sequence[Op]) -> tuple[Op, ...]:
    """The operations with what is derived from their inputs filled in. Raises PlanError unless each fits."""
    require(
        len(ops) >= 2 and isinstance(ops[0], Input) and isinstance(ops[-1], Output),
        "ops must begin with `input` and end with `output`",
    )
    made: dict[str, Op] = {}
    read: set[str] = set()
    for op in ops:
        op.require(_TENSOR.fullmatch(op.out) is not None, "tensor names are letters, digits, '_' and '.'")
        op.require(op.out not in made, "this tensor is written twice")
        op.require(len(made) == 0 or not isinstance(op, Input), "only the first operation may be `input`")
        for name in op.inputs:
            op.require(name in made, f"reads {name!r}, which is not written before")
            op.require(not isinstance(made[name], Output), "`output` must be the last operation")
        op.require(
            1 <= len(op.shape) <= 3 and all(n >= 1 for n in op.shape) and op.size <= MAX_ELEMENTS,
            f"shape {list(op.shape)} is not usable",
        )
        op.require(-MAX_SCALE <= op.scale <= MAX_SCALE, f"scale {op.scale} is out of range")
        sources = [made[name] for name in op.inputs]
        if isinstance(op, Conv2d):
            op = replace(op, in_channels=sources[0].shape[0])
        elif isinstance(op, Linear):
            op = replace(op, in_features=sources[0].size)
        op.check(sources)
        made[op.out] = op
        read |= set(op.inputs)
    idle = sorted(set(made) - read - {ops[-1].out})
    require(not idle, f"tensor {idle[0] if idle else ''!r} is never read")
    weights = [name for op in ops if isinstance(op, WeightedOp) for name in (op.weight, op.bias)]
    require(all(_TENSOR.fullmatch(name) for name in weights), "weight names are letters, digits, '_' and '.'")
    require(len(set(weights)) == len(weights), "two operations name the same weight")
    return tuple(made.values())


def require(holds: bool, why: str) -> None:
    """Raise PlanError with `why` unless it holds."""
    if not holds:
        raise PlanError(why)
