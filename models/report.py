"""What `compile` tells of each layer: its bound and how it is known, the room left, its bits, its measured error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from blindsight.nn import floatnet
from blindsight.nn.floatnet import FloatGraph
from blindsight.nn.ideal import run_values
from blindsight.nn.plan import Op, Plan

from .state import Row

ELEMENTS = 2e7  # activations held at once
MOST = 32  # pictures


@dataclass
class Error:
    """Of one tensor against the float network: greatest and root mean square in units of its last place, and the rms
    relative to the tensor's own.
    """

    greatest: float = 0.0
    squares: float = 0.0
    power: float = 0.0
    count: int = 0

    def add(self, fixed: np.ndarray, real: np.ndarray) -> None:
        error = fixed - real
        self.greatest = max(self.greatest, float(np.abs(error).max(initial=0)))
        self.squares += float((error * error).sum())
        self.power += float((real * real).sum())
        self.count += error.size

    @property
    def rms(self) -> float:
        return math.sqrt(self.squares / max(1, self.count))

    @property
    def relative(self) -> float:
        return math.sqrt(self.squares / self.power) if self.power else 0.0


def measure(
    graph: FloatGraph, plan: Plan, ints: dict[str, np.ndarray], rows: Sequence[Row], pictures: np.ndarray
) -> dict[str, Error]:
    """Errors of the plan's tensors on some pictures; `graph` is the float network with tensors of the same names."""
    origins = {row.layer: row.layer for row in rows}
    origins |= {row.layer: row.origin for row in rows if row.kind == "trunc"}
    shapes = {op.out: op.shape for op in graph.ops}
    wanted = {name for name, origin in origins.items() if origin in shapes}
    each = sum(math.prod(shape) for shape in shapes.values())
    some = pictures[: max(1, min(MOST, int(ELEMENTS // each)))]
    real: dict[str, np.ndarray] = {}
    floatnet.forward(graph, some, lambda name, x: real.__setitem__(name, x), batch=len(some))
    found: dict[str, Error] = {}

    def tap(op: Op, values: np.ndarray) -> None:
        if op.out in wanted and op.shape == shapes[origins[op.out]]:
            unit = 2.0**op.scale
            found.setdefault(op.out, Error()).add(values, real[origins[op.out]].astype(np.float64) * unit)

    run_values(plan, ints, some, np.random.default_rng(1), len(some), tap)
    return found


def layers(rows: Sequence[Row], errors: dict[str, Error]) -> list[dict[str, Any]]:
    """One object a layer, for `--json`."""
    out = []
    for row in rows:
        bound, error = row.bound, errors.get(row.layer)
        out.append(
            {
                "layer": row.layer,
                "op": row.kind,
                "shape": list(row.shape),
                "scale": row.scale,
                "weight_bits": row.bits,
                "m": row.m,
                "f": row.f,
                "bound": None if bound is None else bound.value,
                "proved": None if bound is None else bound.proved,
                "headroom": None if bound is None or bound.proved else bound.headroom,
                "limit": row.limit or None,
                "room_bits": _room(row),
                "max_error_units": None if error is None else error.greatest,
                "rms_error_units": None if error is None else error.rms,
                "relative_error": None if error is None else error.relative,
            }
        )
    return out


HEADER = ("layer", "kind", "shape", "scale", "detail", "bound", "room", "max error", "rms error", "relative")


def table(rows: Sequence[Row], errors: dict[str, Error]) -> list[str]:
    """The same as text. Errors are in units of the layer's last place; room is in bits up to what its width holds."""
    cells = [HEADER]
    for row in rows:
        error, room = errors.get(row.layer), _room(row)
        figures = ("", "", "")
        if error is not None:
            figures = (f"{error.greatest:.3g}", f"{error.rms:.3g}", f"{error.relative:.1e}")
        shape = "x".join(map(str, row.shape))
        left = "" if room is None else f"{room:.1f} bit"
        cells.append(
            (row.layer, row.kind, shape, f"2^{-row.scale}", row.detail, str(row.bound or ""), left, *figures)
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]


def _room(row: Row) -> float | None:
    if row.bound is None or not row.limit:
        return None
    return math.log2(row.limit / max(row.bound.value, 1.0))
