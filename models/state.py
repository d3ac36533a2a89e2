"""What a lowering works on: values with their bounds, the rows of the report, and the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .bounds import Interval


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
    origin: str | None = None  # the tensor of the float graph that it is, where the name is another


@dataclass(frozen=True)
class Fit:
    """Integer weights and bias of a layer, its accumulator, and how many of the wanted bits were lost to fit it."""

    made: Value
    weight: np.ndarray
    bias: np.ndarray
    lost: int
    bound: float


@dataclass(frozen=True)
class Bound:
    """A bound on |x| + E, in units of the tensor, and how it is known."""

    value: float
    proved: bool
    headroom: float

    def __str__(self) -> str:
        how = "proved" if self.proved else f"calibrated, headroom {self.headroom:g}"
        return f"|x| + E <= {self.value:.4g} {how}"


@dataclass(frozen=True)
class Row:
    """One line of the report. `limit` is what the bound must stay below; `bits` a weight's, `m` and `f` a truncation's."""

    layer: str
    kind: str
    shape: tuple[int, ...]
    scale: int
    detail: str
    bound: Bound | None = None
    limit: float = 0.0
    bits: int | None = None
    m: int | None = None
    f: int | None = None
    origin: str = ""


@dataclass
class Settings:
    """Widths and headroom of a lowering.

    `caps` limits the accumulator scale of a weighted operation; `bits` and `widths` give the weight bits of a weighted
    operation and m of a truncating one, by the name of its output, where they are not the common ones.
    """

    weight_bits: int
    m: int = 16
    headroom: float = 4.0
    caps: dict[str, int] = field(default_factory=dict)
    reveal: str = "top1"
    storage: str = "full"
    bits: Mapping[str, int] = field(default_factory=dict)
    widths: Mapping[str, int] = field(default_factory=dict)

    def bits_of(self, name: str) -> int:
        return self.bits.get(name, self.weight_bits)

    def m_of(self, name: str) -> int:
        return self.widths.get(name, self.m)


class Again(Exception):
    """A cap was set: lower the network once more."""
