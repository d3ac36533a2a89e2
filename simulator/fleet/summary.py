"""What a fleet's run amounts to: counts that must be zero, latencies, and how things went over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from blindsight.simulator.fleet.clients import Outcome
from blindsight.simulator.fleet.groups import Fleet
from blindsight.simulator.fleet.timetable import Day


def summary(
    fleet: Fleet, day: Day, outcomes: list[Outcome], expected: dict[str, list[int]], took: float
) -> dict[str, Any]:
    """Of all and of each group. `expected`: by model, the float network's label of each test picture. A device whose cell
    is empty before its picture is whole leaves it `unfinished`: it is neither lost nor answered.
    """
    out = _counts(fleet, day, outcomes, expected)
    finished = [x.answered for x in outcomes if x.answered is not None]
    busy = max(finished, default=took)
    out |= {
        "failures": sorted({x.failure for x in outcomes if x.failure}),
        "seconds": round(took, 2),
        "offered_per_s": round(len(outcomes) / fleet.seconds, 3),
        "answered_per_s": round(len(finished) / max(busy, 1e-9), 3),
        "timeline": timeline(outcomes, took),
        "groups": [
            {"group": g.name, "ingest": g.ingest, **_counts(fleet, day, [x for x in outcomes if _of(day, x) == i], expected)}
            for i, g in enumerate(fleet.groups)
        ],
    }  # fmt: skip
    return out


def _of(day: Day, outcome: Outcome) -> int:
    return day.members[outcome.plan.device].group


def _counts(
    fleet: Fleet, day: Day, outcomes: list[Outcome], expected: dict[str, list[int]]
) -> dict[str, Any]:
    whole = [x for x in outcomes if not x.plan.dies]
    answered = [x for x in whole if x.answered is not None]
    waits = sorted(x.answered - x.plan.at for x in answered if x.answered is not None)
    server = sorted(
        x.answered - x.accepted for x in answered if x.answered is not None and x.accepted is not None
    )
    agree = sum(x.label == expected[fleet.groups[_of(day, x)].model][x.plan.picture] for x in answered)
    return {
        "pictures": len(whole),
        "unfinished": len(outcomes) - len(whole),
        "cut": sum(x.plan.cut for x in whole),
        "accepted": sum(x.accepted is not None for x in whole),
        "answered": len(answered),
        "agree": agree,
        "lost": len(whole) - len(answered),
        "twice": sum(len(x.answers) > 1 for x in outcomes),
        "repeats": sum(max(0, x.replies - 1) for x in whole),
        "latency_s": quantiles(waits),
        "server_s": quantiles(server),
    }


def quantiles(values: Sequence[float]) -> dict[str, float | None]:
    """p50, p95, p99 of sorted values."""
    out: dict[str, float | None] = {}
    for q in (0.5, 0.95, 0.99):
        out[f"p{int(100 * q)}"] = (
            round(values[min(len(values) - 1, int(q * len(values)))], 3) if values else None
        )
    return out


def timeline(outcomes: list[Outcome], took: float, steps: int = 60) -> list[dict[str, float]]:
    """Pictures taken and not yet answered, and answers so far, at even times."""
    taken = sorted(x.plan.at for x in outcomes if not x.plan.dies)
    done = sorted(x.answered for x in outcomes if x.answered is not None)
    out = []
    a = b = 0
    for i in range(steps + 1):
        t = took * i / steps
        while a < len(taken) and taken[a] <= t:
            a += 1
        while b < len(done) and done[b] <= t:
            b += 1
        out.append({"t": round(t, 2), "backlog": a - b, "answered": b})
    return out


def rows_csv(fleet: Fleet, day: Day, outcomes: list[Outcome]) -> str:
    """A line a picture: device, group, times, label."""
    lines = ["device,group,ingest,taken_s,sent_s,accepted_s,answered_s,label,cut,unfinished"]
    for x in outcomes:
        member = day.members[x.plan.device]
        group = fleet.groups[member.group]
        times = ["" if t is None else f"{t:.3f}" for t in (x.plan.at, x.sent, x.accepted, x.answered)]
        label = "" if x.label is None else str(x.label)
        lines.append(
            ",".join(
                [
                    member.name,
                    group.name,
                    group.ingest,
                    *times,
                    label,
                    str(int(x.plan.cut)),
                    str(int(x.plan.dies)),
                ]
            )
        )
    return "\n".join(lines) + "\n"
