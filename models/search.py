"""The search for bits: lower the network with a choice of `models.choose`, run it in fixed point, look again."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from blindsight.nn import compact, floatnet
from blindsight.nn.floatnet import FloatGraph
from blindsight.nn.ideal import run_values
from blindsight.nn.model import Model
from blindsight.nn.plan import Plan

from . import choose, noise
from .compiled import TARGET, Attempt, Compiled
from .lower import lower
from .state import Settings

AIM = 0.997  # agreement that the choice of bits is made for, before it is tried
BEST_EFFORT = 1.2  # times the least noise there can be, where the target is out of reach
TRIES = 4
WORK = 3e10  # multiplications of one simulation
SIMULATED = 512  # calibration pictures at most that a simulation takes


def single(graph: FloatGraph) -> FloatGraph:
    """The graph with float32 arrays, as it is stored and run."""
    arrays = {k: np.ascontiguousarray(v, np.float32) for k, v in graph.arrays.items()}
    return FloatGraph(graph.ops, arrays, graph.mean, graph.std)


@dataclass
class Search:
    """One network to be lowered with some choice of bits or other."""

    parts: dict[str, Any]
    graph: FloatGraph
    stored: FloatGraph
    seen: dict[str, float]
    pictures: np.ndarray
    storage: str
    headroom: float | None
    tried: list[Attempt] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.single = single(self.graph)
        work = max(1, noise.multiplications(self.graph))
        self.some = self.pictures[: int(min(SIMULATED, max(8, WORK // work)))]
        self.floats = floatnet.forward(self.stored, self.pictures[:SIMULATED])

    def run(self, bits: int | None, m: int | None) -> Compiled:
        headroom = self.headroom or (4.0 if m is None or m >= 15 else 2.0)
        reveal = self.parts["reveal"].mode
        settings = Settings(bits or 12, m or 16, headroom, {}, reveal, self.storage)
        if bits is not None and m is not None:
            return self.attempt(settings)
        base = lower(self.graph, self.seen, settings)
        spread = noise.Noise(base, noise.gradients(self.single, self.some))
        least = choose.finest(spread, bits, m)
        floor = spread.variance(*least)
        allowed = choose.Margins.of(self.floats).budget(AIM)
        hopeless = self.storage == "full" and allowed < BEST_EFFORT * floor
        budget = floor + allowed if self.storage == "compact" else max(allowed, BEST_EFFORT * floor)
        made: list[Compiled] = []
        while len(made) < TRIES:
            kinds, widths = choose.coarser(spread, least, (bits is None, m is None), budget)
            most = max(widths.values(), default=settings.m)
            made.append(self.attempt(replace(settings, m=most, caps={}, bits=kinds, widths=widths)))
            if hopeless or made[-1].agreement >= TARGET:
                return made[-1]
            budget = floor + (budget - floor) / 3
        return max(made, key=lambda c: c.agreement)

    def attempt(self, settings: Settings) -> Compiled:
        lowering = lower(self.graph, self.seen, settings)
        plan = Plan(**self.parts, ops=tuple(lowering.ops))
        if self.storage == "compact":
            graph = compact.reference(plan, lowering.ints, self.graph)
            model = Model(plan, lowering.ints, graph, self.storage)
            floats = floatnet.forward(graph, self.some)
        else:
            graph, model = self.single, Model(plan, lowering.ints, self.stored)
            floats = self.floats[: len(self.some)]
        logits = run_values(plan, lowering.ints, self.some, np.random.default_rng(0))
        agreement = expected_agreement(floats, logits / 2.0**plan.output_scale)
        bits = {op.out: op.weight_bits for op in plan.weighted}
        widths = {row.layer: row.m for row in lowering.rows if row.m and row.kind not in ("clip", "lut")}
        self.tried.append(Attempt(choose.summary(bits), choose.summary(widths), agreement))
        return Compiled(model, lowering, graph, agreement, len(self.some), self.tried)


def expected_agreement(floats: np.ndarray, fixed: np.ndarray) -> float:
    """Top-1 agreement of two sets of logits (N, classes): what was seen, or less where the margins foretell less.

    Few pictures show few disagreements. The error of the margin between the two best classes is taken as normal, with
    the spread seen over all pictures. That gives each picture a chance to change sides; and where the smallest tenth
    of the margins are as dense down to zero, new pictures change sides at density * spread / sqrt(2 pi).
    """
    rows = np.arange(len(floats))
    if floats.shape[1] == 1:  # one class: its sign is the answer
        floats, fixed = (np.pad(logits, ((0, 0), (0, 1))) for logits in (floats, fixed))
    seen = float((floats.argmax(1) == fixed.argmax(1)).mean())
    second, first = np.argsort(floats, axis=1)[:, -2:].T
    margin = floats[rows, first] - floats[rows, second]
    error = fixed[rows, first] - fixed[rows, second] - margin
    spread = math.sqrt(float((error * error).mean())) + 1e-30
    these = float(np.mean([math.erfc(v / (spread * math.sqrt(2))) / 2 for v in margin]))
    others = 0.1 / (float(np.quantile(margin, 0.1)) + 1e-30) * spread / math.sqrt(2 * math.pi)
    return max(0.0, min(seen, 1 - these, 1 - others))
