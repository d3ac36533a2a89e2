"""What the compiler returns: the model, and how it was made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blindsight.nn.floatnet import FloatGraph
from blindsight.nn.model import Model
from blindsight.nn.plan import Plan

from . import report
from .lower import Lowering

TARGET = 0.995  # agreement with the float reference that bits are chosen for


@dataclass(frozen=True)
class Loss:
    """What compact storage costs against the trained network, float against float, on the calibration pictures.

    `accuracy` is (trained, compact), None without labels.
    """

    agreement: float
    count: int
    accuracy: tuple[float, float] | None

    def __str__(self) -> str:
        text = f"compact storage agrees with the trained network on {self.agreement:.2%} of {self.count} pictures"
        if self.accuracy is None:
            return text
        before, after = self.accuracy
        return f"{text}; accuracy {before:.2%} -> {after:.2%}, a loss of {100 * (before - after):+.2f} points"


@dataclass(frozen=True)
class Attempt:
    """A choice of bits that was simulated, and its expected top-1 agreement with the float reference."""

    weight_bits: str
    m: str
    agreement: float

    def __str__(self) -> str:
        return f"weights {self.weight_bits}, m {self.m}: {self.agreement:.2%}"


@dataclass
class Compiled:
    """The result: `model` (plan, integer weights, float reference) and how it was made.

    `graph` is the float network whose tensors bear the plan's names; `weight_bits` the most of any layer.
    """

    model: Model
    lowering: Lowering
    graph: FloatGraph
    agreement: float
    simulated: int
    tried: list[Attempt]
    errors: dict[str, report.Error] = field(default_factory=dict)
    loss: Loss | None = None

    @property
    def plan(self) -> Plan:
        return self.model.plan

    @property
    def weight_bits(self) -> int:
        return max((op.weight_bits for op in self.plan.weighted), default=0)

    def save(self, path: str | Path) -> None:
        """Write M.bsm and M.plan.json."""
        self.model.save(path)

    def layers(self) -> list[dict[str, Any]]:
        """Of every layer: bits, bound, room, measured error (`compile --json`)."""
        return report.layers(self.lowering.rows, self.errors)

    def explain(self) -> str:
        """A table of layers: scales, bits, bounds and how each bound is known, errors measured against float."""
        plan = self.plan
        size = f"{plan.channels} x {plan.height} x {plan.width}"
        lines = [f"{plan.name}: {len(plan.ops)} operations on {size} pictures, reveal {plan.reveal.mode}"]
        lines += report.table(self.lowering.rows, self.errors)
        lines.append(
            f"expected agreement with the float reference ({self.simulated} pictures in fixed point): "
            + "; ".join(map(str, self.tried))
        )
        if self.loss:
            lines.append(str(self.loss))
        if self.agreement < TARGET:
            lines.append(
                f"warning: {self.agreement:.2%} is below {TARGET:.1%}: calibrate with typical pictures, or train "
                "with larger margins"
            )
        return "\n".join(lines)
