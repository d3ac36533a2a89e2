"""A float graph under rewriting: who writes and reads a tensor, and how operations are put in and taken out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import numpy as np

from blindsight.nn.floatnet import FloatGraph, FloatOp


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


def channelwise(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
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
