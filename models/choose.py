"""The compiler's choice: weight bits of each layer and m of each activation, under a budget of disagreement.

`models.noise` predicts what a choice does to the margin between the two best classes, and the calibration pictures'
margins say how many answers that changes. Bits are taken away one at a time, where they save most for the noise they
add, until the budget is spent; the result is then run in fixed point, and the budget halved while that agrees too little.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .noise import Noise

BITS, WIDTHS = (8, 16), (12, 16)
SHARE = 0.3  # of the budget that the weights may take; in compact storage fewer bits save nothing
COMPACT_SHARE = 0.05
Chosen = tuple[dict[str, int], dict[str, int]]


@dataclass(frozen=True)
class Margins:
    """Margins between the two best classes of the float network on the calibration pictures; of one class, from zero."""

    values: np.ndarray

    @staticmethod
    def of(floats: np.ndarray) -> Margins:
        best = np.sort(floats, axis=1)[:, -2:].astype(np.float64)
        return Margins(best[:, 1] - best[:, 0] if floats.shape[1] > 1 else np.abs(best[:, 0]))

    def agreement(self, spread: float) -> float:
        """Expected top-1 agreement where the margin's error is normal with this standard deviation.

        These pictures change sides by their own margins; new ones by the margins' density towards zero.
        """
        scale = max(spread, 1e-30) * math.sqrt(2)
        these = float(np.mean([math.erfc(v / scale) / 2 for v in self.values]))
        others = 0.1 / (float(np.quantile(self.values, 0.1)) + 1e-30) * spread / math.sqrt(2 * math.pi)
        return max(0.0, 1 - max(these, others))

    def budget(self, target: float) -> float:
        """The greatest variance for which the expected agreement reaches the target."""
        low, high = 0.0, float(np.max(self.values, initial=1.0)) + 1e-30
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.agreement(middle) >= target else (low, middle)
        return low * low


def finest(noise: Noise, bits: int | None, m: int | None) -> Chosen:
    """The choice of least noise: all bits there are, less where fewer leave an accumulator room for more."""
    chosen = (
        dict.fromkeys(noise.layers, BITS[1] if bits is None else bits),
        dict.fromkeys(noise.truncations, WIDTHS[1] if m is None else m),
    )
    return _take(noise, chosen, (bits is None, m is None), 0.0, lambda kind, name: 1.0, gains_only=True)


def coarser(noise: Noise, start: Chosen, free: tuple[bool, bool], budget: float) -> Chosen:
    """Fewer bits than `start`, of weights and of activations where `free`, within a variance of `budget`."""
    sizes = noise.truncations
    base = noise.variance(*start)
    if free[0]:
        share = COMPACT_SHARE if noise.compact else SHARE if free[1] else 1.0
        own = base + (budget - base) * share
        start = _take(noise, start, (True, False), own, lambda kind, name: 1.0)
    if free[1]:
        start = _take(noise, start, (False, True), budget, lambda kind, name: float(sizes[name]))
    return start


def _take(
    noise: Noise,
    start: Chosen,
    free: tuple[bool, bool],
    budget: float,
    saves: Callable[[int, str], float],
    gains_only: bool = False,
) -> Chosen:
    """Take bits away greedily, by what they save for the noise they add; lazily re-reckoned."""
    chosen = (dict(start[0]), dict(start[1]))
    least = (BITS[0], WIDTHS[0])
    now = noise.variance(*chosen)

    def added(kind: int, name: str) -> float:
        chosen[kind][name] -= 1
        after = noise.variance(*chosen)
        chosen[kind][name] += 1
        return after - now

    heap: list[tuple[float, int, str]] = []
    for kind in (0, 1):
        for name in chosen[kind] if free[kind] else ():
            if chosen[kind][name] > least[kind]:
                heap.append((-math.inf, kind, name))
    heapq.heapify(heap)
    while heap:
        _, kind, name = heapq.heappop(heap)
        cost = added(kind, name)
        ratio = cost / saves(kind, name)
        if (gains_only and cost >= 0) or (not gains_only and now + cost > budget):
            continue
        if heap and ratio > heap[0][0]:
            heapq.heappush(heap, (ratio, kind, name))
            continue
        chosen[kind][name] -= 1
        now += cost
        if chosen[kind][name] > least[kind]:
            heapq.heappush(heap, (ratio, kind, name))
    return chosen


def summary(numbers: Mapping[str, int]) -> str:
    """`12..14`, or the one number."""
    values = sorted(set(numbers.values()))
    return str(values[0]) if len(values) == 1 else f"{values[0]}..{values[-1]}" if values else "-"
