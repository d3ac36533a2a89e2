"""The page of a sweep over offered rates: where throughput ends, and why."""

from __future__ import annotations

from typing import Any

from blindsight.simulator.report import svg
from blindsight.simulator.report.parts import document, table


def knee_page(got: dict[str, Any]) -> str:
    """Of the object that `sim knee --json` prints."""
    steps = got["steps"]
    rows = [
        [
            f"{r['offered_per_s']:g}", f"{r['answered_per_s']:g}", *("-" if w is None else f"{w:g}" for w in r["latency_s"].values()),
            str(r["backlog_at_end"]), f"{r['pair_busy']:g}", *(f"{r['cores'][n]:g}" for n in ("cloud", "helper", "broker")),
        ]
        for r in steps
    ]  # fmt: skip
    head = [
        "offered a second", "answered a second", "p50 s", "p95 s", "p99 s", "left at the end", "pair busy",
        "cloud, cores", "helper", "broker",
    ]  # fmt: skip
    parts = [
        f"<p>{got['workers']} worker pair(s), measured on {got['date']} at commit {got['commit']}: {got['machine']}, load "
        f"average {got['load_average']:g}.</p>",
        table(head, rows),
        "<h2>Answered a second, by pictures offered a second</h2>",
        svg.line([(0, 0), *((r["offered_per_s"], r["answered_per_s"]) for r in steps)], "offered a second", "a second", "throughput"),
        "<h2>Latency (p95), by pictures offered a second</h2>",
        svg.line(
            [(r["offered_per_s"], p95) for r in steps if (p95 := r["latency_s"]["p95"]) is not None], "offered a second", "s", "latency"
        ),
        "<h2>Part of the time the worker pair is at work</h2>",
        svg.line([(0, 0), *((r["offered_per_s"], r["pair_busy"]) for r in steps)], "offered a second", "", "busy"),
    ]  # fmt: skip
    return document(f"Where throughput ends: {got['model']}, {got['ingest']}", parts)
