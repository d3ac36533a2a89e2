"""Costs as CSV: a line for each quantity of each stage, layer and kind of memory, with its band."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from blindsight.simulator.cost import Band, Cost

_HEAD = ["board", "mode", "stage", "quantity", "unit", "low", "mid", "high"]


def costs_csv(costs: list[Cost]) -> str:
    """The file's text; six significant digits. `total` is the whole picture."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_HEAD)
    for c in costs:
        for stage, quantity, unit, band in _rows(c):
            numbers = [f"{v:.6g}" for v in (band.low, band.mid, band.high)]
            writer.writerow([c.board.id, c.workload.mode.label, stage, quantity, unit, *numbers])
    return out.getvalue()


def _rows(c: Cost) -> Iterator[tuple[str, str, str, Band]]:
    for name, seconds, energy in [
        *((s.name, s.seconds, s.millijoules) for s in c.stages),
        ("total", c.seconds, c.millijoules),
    ]:
        yield name, "time", "s", seconds
        yield name, "energy", "mJ", energy
    if c.bytes is not None:
        for way in ("up", "down"):
            for layer, band in getattr(c.bytes, way).items():
                yield layer, f"bytes {way}", "B", band
            yield "total", f"bytes {way}", "B", c.bytes.sum(way)
    for kind, band in c.ram.items():
        yield kind, "memory", "B", band
    yield "sleep", "energy a day", "J", c.sleep_joules
    yield "total", "energy a day", "J", c.day_joules
    if c.battery_days is not None:
        yield "total", "battery", "days", c.battery_days


def table_csv(head: list[str], rows: list[list[str]]) -> str:
    """Any table."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([head, *rows])
    return out.getvalue()
