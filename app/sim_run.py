"""`blindsight sim run`: one device with the real firmware against the real servers, its report in a board's time.

The firmware, broker, cloud and helper are those of `blindsight demo`, as processes on this machine. What is measured
(answers, bytes, latency of the servers, heap) stays as measured; what the board would have taken is the cost model's,
with the servers' measured latency in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blindsight.app.demo import Demo, Options
from blindsight.app.demo_report import Picture, Report
from blindsight.simulator.cost import Band, Cost, cost
from blindsight.simulator.cost.traffic import shape
from blindsight.simulator.scenario import Scenario
from blindsight.wire.blocks import Mode

Progress = Callable[[str, int, int], None]


class RunError(Exception):
    """The run did not end well; one line."""


@dataclass(frozen=True)
class Ran:
    """What was measured, and the cost of the same pictures on each board."""

    measured: dict[str, Any]
    costs: list[Cost]


class _Watched(Demo):
    """The demonstration with one device, its `published` events kept: (monotonic time, event)."""

    def __init__(self, options: Options, progress: Progress | None) -> None:
        super().__init__(options, progress)
        self.published: dict[int, tuple[float, dict[str, Any]]] = {}

    def _note(self, picture: Picture, name: str, kind: str, now: float, event: dict[str, Any]) -> int:
        if kind == "published":
            self.published.setdefault(picture.number, (now, event))
        return super()._note(picture, name, kind, now, event)


def run(plan: Scenario, hw: Path, progress: Progress | None = None, micropython: str = "") -> Ran:
    """Runs `plan.run_pictures` pictures; RunError where one was not answered as the float network does."""
    options = Options(
        model=plan.run_model,
        images=plan.run_pictures,
        ingest=plan.run_ingest,
        devices=1,
        micropython=micropython,
    )
    demo = _Watched(options, progress)
    report = demo.run()
    mode, p = Mode.named(plan.run_ingest), demo.model.plan
    done = report.answered
    if len(done) < len(report.pictures):
        raise RunError(
            f"{len(report.pictures) - len(done)} of {len(report.pictures)} pictures were not answered"
        )
    seen = demo.published  # an answer may overtake the event of the picture's own sending
    waits = sorted(round(p.answered - seen[p.number][0], 4) for p in done if p.number in seen)
    if not waits:
        raise RunError("the device reported no sending; run it again")
    device = len(done[0].device)
    expected = shape(mode, p.height, p.width, p.channels, model=len(p.name), device=device).payload
    measured = _measured(plan, report, demo, waits, expected)
    server = Band(max(waits[0], 0), max(waits[len(waits) // 2], 0), max(waits[-1], 0))
    work = replace(
        plan.work, mode=mode, height=p.height, width=p.width, channels=p.channels, server=server
    )  # fmt: skip
    return Ran(measured, [cost(hw, board, work) for board in plan.boards])


def _measured(
    plan: Scenario, report: Report, demo: _Watched, waits: list[float], expected: int
) -> dict[str, Any]:
    sent = [int(event["bytes"]) for _, event in demo.published.values()]
    host = sorted(int(event["ms"]) for _, event in demo.published.values())
    return {
        "model": plan.run_model,
        "ingest": plan.run_ingest,
        "pictures": len(report.pictures),
        "answered": len(report.answered),
        "agree": sum(p.got == p.expected for p in report.answered),
        "payload_bytes": max(sent),
        "payload_bytes_model": expected,
        "server_s": {
            "min": round(waits[0], 4),
            "median": round(waits[len(waits) // 2], 4),
            "max": round(waits[-1], 4),
        },
        "encrypt_and_send_ms_here": {"min": host[0], "median": host[len(host) // 2], "max": host[-1]},
        "device_heap_bytes": report.heap,
    }
