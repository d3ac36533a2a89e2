"""Costs as CSV: a line a stage, and a line `total` for each board and mode."""

from __future__ import annotations

import csv
import io

from blindsight.simulator.cost import Cost

_HEAD = ["board", "mode", "stage", "s_low", "s_mid", "s_high", "mj_low", "mj_mid", "mj_high"]


def costs_csv(costs: list[Cost]) -> str:
    """The file's text; six significant digits."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_HEAD)
    for c in costs:
        rows = [(s.name, s.seconds, s.millijoules) for s in c.stages]
        for name, seconds, millijoules in [*rows, ("total", c.seconds, c.millijoules)]:
            numbers = [f"{v:.6g}" for b in (seconds, millijoules) for v in (b.low, b.mid, b.high)]
            writer.writerow([c.board.id, c.workload.mode.label, name, *numbers])
    return out.getvalue()
