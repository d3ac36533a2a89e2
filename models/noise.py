"""How rounding reaches the answer: first-order noise of the margin between the two best classes.

One backward pass a picture gives the gradient of that margin with respect to every tensor and weight of the integer
form. Rounding errors are small and nearly independent, so the margin's error is a sum of normal ones: a truncation with
steps of 2^-s adds 4^-s / 6 times the squared gradient of its input (floor or floor + 1), rounded weights with steps of
2^-s add 4^-s / 12 times the squared gradient of the weights. What a choice of bits costs is then read off without
running the network again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from blindsight.mpc.smooth import SHAPES
from blindsight.nn import compact, plan
from blindsight.nn.floatnet import FloatGraph

from .bounds import ACCUMULATOR
from .lower import Lowering
from .lower_functions import SLOPE_BITS, TABLE_SCALE
from .torch_floor import KERNELS

WORK = 2e10  # multiplications that may be spent on gradients
MOST = 48  # pictures
SUMMED = (plan.Add, plan.Concat)


@dataclass(frozen=True)
class Gradients:
    """Mean over pictures of the squared gradient of the margin: of each tensor (float), of each weight by channel."""

    tensors: dict[str, float]
    weights: dict[str, np.ndarray]


def multiplications(graph: FloatGraph) -> int:
    """Of one picture."""
    return sum(
        graph.array(op, "weight").size * math.prod(op.shape[1:])
        for op in graph.ops
        if op.op in ("conv2d", "linear")
    )


def gradients(graph: FloatGraph, pictures: np.ndarray) -> Gradients:
    """Gradients on the first of the pictures uint8 (N, H, W, C); `graph` is the integer form."""
    count = int(min(MOST, len(pictures), max(4, WORK // max(1, 3 * multiplications(graph)))))
    weighted = {op.tensors["weight"] for op in graph.ops if op.op in ("conv2d", "linear")}
    arrays = {
        name: torch.tensor(np.asarray(value, np.float32), requires_grad=name in weighted)
        for name, value in graph.arrays.items()
    }
    tensors: dict[str, float] = dict.fromkeys((op.out for op in graph.ops), 0.0)
    weights: dict[str, np.ndarray] = {}
    for picture in pictures[:count]:
        values = {graph.ops[0].out: torch.tensor(picture.transpose(2, 0, 1)[None], dtype=torch.float32)}
        for op in graph.ops[1:]:
            array = lambda name, op=op: arrays[op.tensors[name]]  # noqa: E731
            y = KERNELS[op.op](op, [values[name] for name in op.inputs], array)
            if y.requires_grad:
                y.retain_grad()
            values[op.out] = y
        logits = values[graph.ops[-1].out][0]
        best = logits.topk(min(2, len(logits))).values
        (best[0] - best[1:].sum()).backward()  # of one class, its sign
        for name, y in values.items():
            if y.grad is not None:
                tensors[name] += float((y.grad * y.grad).sum()) / count
        for op in graph.ops:
            if op.op in ("conv2d", "linear"):
                weight = arrays[op.tensors["weight"]]
                grad = weight.grad
                if grad is not None:
                    each = (grad * grad).reshape(len(grad), -1).sum(1).double().numpy() / count
                    weights[op.out] = weights.get(op.out, 0.0) + each
                weight.grad = None
    return Gradients(tensors, weights)


class Noise:
    """The variance of the margin's error, for any choice of weight bits and m, from one lowering of the network."""

    def __init__(self, lowering: Lowering, found: Gradients) -> None:
        self.ops, self.graph, self.found = lowering.ops, lowering.graph, found
        self.compact = lowering.settings.storage == "compact"
        self._peaks = {
            op.out: np.abs(self.graph.array(op, "weight")).reshape(op.shape[0], -1).max(axis=1)
            for op in self.graph.ops
            if op.op in ("conv2d", "linear")
        }
        scales = {op.out: op.scale for op in self.ops}
        self._shifts = {op.out: op.weight_scale for op in self.ops if isinstance(op, plan.WeightedOp)}
        self._bounds: dict[str, float] = {}  # of a row's argument, as a real number
        self._origins: dict[str, str] = {}
        rows = {row.layer: row for row in lowering.rows}
        for op in self.ops:
            row = rows.get(op.out)
            if row is not None and row.bound is not None:
                at = scales[op.inputs[0]] if isinstance(op, plan.ReducedOp) else op.scale
                self._bounds[op.out] = max(row.bound.value, 1.0) * 2.0**-at
                self._origins[op.out] = row.origin

    @property
    def layers(self) -> list[str]:
        """The operations that have weight bits."""
        return [op.out for op in self.ops if isinstance(op, plan.WeightedOp)]

    @property
    def truncations(self) -> dict[str, int]:
        """The operations that have an m, and how many elements they truncate."""
        sizes = {op.out: op.size for op in self.ops}
        return {op.out: sizes[op.inputs[0]] for op in self.ops if isinstance(op, plan.ReducedOp)}

    def variance(self, bits: Mapping[str, int], widths: Mapping[str, int]) -> float:
        """Mean variance of the margin's error."""
        scales: dict[str, int] = {}
        total = 0.0
        for op in self.ops:
            source = scales[op.inputs[0]] if op.inputs else 0
            if isinstance(op, plan.WeightedOp):
                shift = self._weight_scale(op.out, bits[op.out], source)
                total += self._weight_noise(op.out, shift)
                scale = source + shift
            elif isinstance(op, SUMMED):
                scale = max(scales[name] for name in op.inputs)
            elif isinstance(op, plan.SumPool):
                scale = source + op.scale - self._scale(op.inputs[0])
            elif isinstance(op, plan.ReducedOp):
                scale, noise = self._reduced(op, widths[op.out], source)
                total += noise
            else:
                scale = source
            scales[op.out] = scale
        return total

    def _scale(self, name: str) -> int:
        return next(op.scale for op in self.ops if op.out == name)

    def _weight_scale(self, name: str, bits: int, source: int) -> int:
        peak = float(self._peaks[name].max(initial=0.0))
        if peak == 0:
            return self._shifts[name]
        full = math.floor(math.log2(((1 << (bits - 1)) - 1) / peak))
        room = math.floor(math.log2(ACCUMULATOR / self._bounds[name])) - source
        return min(full, room)

    def _weight_noise(self, name: str, shift: int) -> float:
        found = self.found.weights.get(name)
        if found is None or not self._peaks[name].any():
            return 0.0
        step = np.full(len(found), 2.0**-shift)
        if self.compact:
            size = self._peaks[name] * 2.0**shift / (compact.MANTISSA + 1)
            step *= 2.0 ** np.maximum(np.ceil(np.log2(np.maximum(size, 1e-300))), 0)
        return float((step * step * found).sum()) / 12

    def _reduced(self, op: plan.ReducedOp, m: int, source: int) -> tuple[int, float]:
        signed = isinstance(op, plan.Trunc) or (isinstance(op, plan.MaxPool) and not op.relu)
        most = m - 2 if signed else m - 1
        finest = 60
        if isinstance(op, plan.Clip | plan.Lut):
            line = isinstance(op, plan.Lut) and SHAPES[op.function].line
            most, finest = (m + 1 if line else op.most - 1), min(TABLE_SCALE, m - 4)
        kept = min(source, finest, math.floor(most - math.log2(self._bounds[op.out])))
        gradient = self.found.tensors.get(self._origins[op.out], 0.0)
        noise = 4.0**-kept / 6 * gradient if kept < source else 0.0
        if isinstance(op, plan.LeakyRelu):
            return kept + SLOPE_BITS, noise
        if isinstance(op, plan.Lut):
            scale = min(TABLE_SCALE, kept + 2)
            return scale, noise + 4.0**-scale / 6 * self.found.tensors.get(op.out, 0.0)
        return kept, noise
