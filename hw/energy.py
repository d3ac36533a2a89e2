"""Measured energy from the CSV trace of a power meter: Nordic PPK2 (ms, uA) and Joulescope (s, A, V).

Columns are known by their headers, e.g. `Timestamp(ms),Current(uA),D0-D7` or `time (s),current (A),voltage (V)`; a header
without units is Joulescope's (s, A, V). Integration is by trapezoids, so uneven sampling is fine.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from blindsight.errors import OneLine

SCALES = {
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "A": 1.0,
    "mA": 1e-3,
    "uA": 1e-6,
    "nA": 1e-9,
    "V": 1.0,
    "mV": 1e-3,
}
MAX_LINE = 1 << 16
QUANTITIES = {"time": ("s", "ms", "us"), "current": ("A", "mA", "uA", "nA"), "voltage": ("V", "mV")}


class TraceError(OneLine):
    """A trace that cannot be used; one line that names the fix."""


def _columns(header: list[str], path: Path) -> dict[str, tuple[int, float]]:
    found: dict[str, tuple[int, float]] = {}
    for index, cell in enumerate(header):
        match = re.fullmatch(
            r"#?\s*(?:time(?:stamp)?|current|voltage)\s*(?:[(\[](\w+)[)\]])?", cell.strip(), re.I
        )
        if match is None:
            continue
        name = next(q for q in QUANTITIES if q in cell.lower())
        unit = (match[1] or QUANTITIES[name][0]).replace("µ", "u").replace("μ", "u")
        if unit not in QUANTITIES[name]:
            raise TraceError(f"{path}: {name} in {unit}; export it in {', '.join(QUANTITIES[name])}")
        found[name] = (index, SCALES[unit])
    if not {"time", "current"} <= set(found):
        raise TraceError(
            f"{path}: no columns for time and current; export CSV with headers, as PPK2 and Joulescope do"
        )
    return found


def _lines(file: Iterable[str], path: Path) -> Iterator[str]:
    """The file's lines, each of a length that numbers have: csv's own error for a longer field is not ours."""
    for number, line in enumerate(file, 1):
        if len(line) > MAX_LINE or "\0" in line:
            raise TraceError(f"{path}, line {number}: not a line of numbers; export the trace again")
        yield line


def _samples(path: Path, volts: float | None) -> Iterator[tuple[float, float, float]]:
    # a byte that is no UTF-8 can only spoil a number, and then its line is named
    with open(path, newline="", errors="replace") as f:
        rows = csv.reader(_lines(f, path))
        columns = _columns(next(rows, []), path)
        if "voltage" not in columns and volts is None:
            raise TraceError(f"{path}: no voltage in it: add --volts, the supply's")
        for number, row in enumerate(rows, 2):
            if not row:
                continue
            try:
                values = {name: float(row[i]) * scale for name, (i, scale) in columns.items()}
            except (ValueError, IndexError):
                raise TraceError(f"{path}, line {number}: not numbers; export the trace again") from None
            sample = values["time"], values["current"], volts if volts is not None else values["voltage"]
            if not all(map(math.isfinite, sample)):
                raise TraceError(f"{path}, line {number}: not a finite number; cut the gap out of the trace")
            yield sample


def energy(path: Path, volts: float | None = None, begin: float = 0, end: float = math.inf) -> dict[str, Any]:
    """Energy between `begin` and `end` seconds after the first sample.

    Returns `joules`, `coulombs`, `mean_ma`, `peak_ma`, `seconds`, `samples`, and `kind`, `conditions`, `source` as a
    profile wants them. `volts` replaces the trace's voltage.
    """
    joules = coulombs = seconds = 0.0
    peak, count, start = -math.inf, 0, None
    for (t0, i0, v0), (t1, i1, v1) in pairwise(_samples(path, volts)):
        start = t0 if start is None else start
        if t1 <= t0:
            raise TraceError(f"{path}: time does not grow at {t1:g} s; export one recording at a time")
        if t0 - start < begin or t1 - start > end:
            continue
        dt = t1 - t0
        seconds += dt
        coulombs += dt * (i0 + i1) / 2
        joules += dt * (i0 * v0 + i1 * v1) / 2
        peak, count = max(peak, i0, i1), count + 1
    if not count:
        raise TraceError(f"{path}: no samples between {begin:g} and {end:g} s")
    return {
        "joules": joules, "coulombs": coulombs, "mean_ma": 1000 * coulombs / seconds, "peak_ma": 1000 * peak,
        "seconds": seconds, "samples": count + 1, "kind": "measured",
        "conditions": f"{volts:g} V set by hand" if volts is not None else "voltage as recorded",
        "source": f"power trace {path.name}",
    }  # fmt: skip
