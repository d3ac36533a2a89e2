"""The page of costs and capacity."""

from __future__ import annotations

from html import escape
from typing import Any

from blindsight.simulator.cost import Band, Cost
from blindsight.simulator.report import svg
from blindsight.simulator.report.parts import document, table

MANY = 300  # more marks than this run together


def page(
    title: str, costs: list[Cost], run: dict[str, Any] | None = None, tables: list[Any] | None = None
) -> str:
    """The page. `run`: what `sim run` measured. `tables`: more sections, (heading, header, rows)."""
    parts: list[str] = []
    if run is not None:
        parts.append(_ran(run))
    if costs:
        parts += cost_parts(costs)
    for heading, header, rows in tables or []:
        parts.append(f"<h2>{escape(heading)}</h2>" + table(header, rows))
    return document(title, parts)


def _name(c: Cost) -> str:
    return f"{c.board.id}, {c.workload.mode.label}"


def _band(b: Band | None) -> str:
    return "-" if b is None else f"{svg.number(b.mid)} ({svg.number(b.low)} to {svg.number(b.high)})"


def cost_parts(costs: list[Cost]) -> list[str]:
    """Tables and plots of costs."""
    names = [_name(c) for c in costs]
    pairs = list(zip(names, costs, strict=True))
    small = {"wake", "capture", "join", "answer", "round trips"}
    parts = [
        "<p>Middle of the model's band, and in brackets its outer bounds. Predicted, not measured on silicon.</p>",
        table(
            ["board, mode", "awake s", "part of the time", "energy mJ", "bytes up", "core RAM B", "block B", "J a day", "battery days"],
            [
                [
                    n, _band(c.seconds), _band(c.busy), _band(c.millijoules), _band(c.bytes.sum("up") if c.bytes else None),
                    _band(c.ram["core"]), _band(c.ram["largest_block"]), _band(c.day_joules), _band(c.battery_days),
                ]
                for n, c in pairs
            ],
        ),
        "<h2>How sure the times are</h2>",
        svg.banded([(n, c.seconds.low, c.seconds.mid, c.seconds.high) for n, c in pairs], "s", "awake seconds and their bounds"),
        "<h2>Where the time of a picture goes</h2>",
        svg.stacked([(n, [(s.name, s.seconds.mid) for s in c.stages]) for n, c in pairs], "s", "seconds by stage"),
        "<h2>Of it, what the board computes</h2>",
        svg.stacked(
            [(n, [(s.name, 1e3 * s.seconds.mid) for s in c.stages if s.name not in small]) for n, c in pairs],
            "ms", "milliseconds of computing by stage",
        ),
        "<h2>Where the energy goes</h2>",
        svg.stacked([(n, [(s.name, s.millijoules.mid) for s in c.stages]) for n, c in pairs], "mJ", "energy by stage"),
        svg.banded(
            [(n, c.millijoules.low, c.millijoules.mid, c.millijoules.high) for n, c in pairs], "mJ", "energy and its bounds"
        ),
        "<h2>Where the energy of a day goes</h2>",
        svg.stacked(
            [
                (
                    n,
                    [
                        *((s.name, s.millijoules.mid * c.workload.per_day / 1000) for s in c.stages),
                        ("sleep", c.sleep_joules.mid),
                    ],
                )
                for n, c in pairs
            ],
            "J", "energy of a day by stage",
        ),
        "<h2>Bytes the board sends</h2>",
        svg.stacked(
            [(n, [(k, v.mid) for k, v in c.bytes.up.items()]) for n, c in pairs if c.bytes], "B", "bytes by layer"
        ),
    ]  # fmt: skip
    days = [(n, c.battery_days) for n, c in pairs if c.battery_days is not None]
    if days:
        parts += [
            "<h2>Battery</h2>",
            svg.banded([(n, b.low, b.mid, b.high) for n, b in days], "d", "battery days"),
        ]
    parts += [
        "<h2>One picture, step by step</h2>",
        _picture(costs[0]),
        "<h2>A day of the board</h2>",
        *_day(costs[0]),
    ]
    used = {(u.name, c.board.id): u for c in costs for u in c.used}
    rows = [
        [board, u.name, f"{_band(u.band)} {u.unit}", u.kind, u.source]
        for (_, board), u in sorted(used.items())
    ]
    parts += ["<h2>Every number used</h2>", table(["board", "number", "value", "kind", "source"], rows)]
    return parts


def _picture(c: Cost) -> str:
    """Power over the time of a picture, stage by stage."""
    points, t = [(0.0, 0.0)], 0.0
    for stage in c.stages:
        if stage.seconds.mid > 0:
            points.append((t, stage.millijoules.mid / stage.seconds.mid))
            t += stage.seconds.mid
    return svg.line([*points, (t, 0.0)], "s", "mW", f"power over one picture, {_name(c)}", steps=True)


def _day(c: Cost) -> list[str]:
    """When pictures are taken, and energy used since midnight."""
    work, steps = c.workload, 48
    idle = c.sleep_ma.mid * c.volts.mid / 1000
    points = []
    for i in range(steps + 1):
        t = 86400 * i / steps
        done = int(work.per_day * i / steps)
        points.append(
            (24 * i / steps, done * c.millijoules.mid / 1000 + max(0, t - done * c.seconds.mid) * idle)
        )
    drawn = svg.line(points, "h", "J", f"energy used over a day, {_name(c)}")
    if work.per_day > MANY:
        return [f"<p>{work.per_day:,.0f} pictures, evenly.</p>", drawn]
    taken = [24 * (k + 0.5) / work.per_day for k in range(int(work.per_day))]
    return [svg.events(taken, 24, "h", f"pictures of a day, {_name(c)}"), drawn]


def _ran(run: dict[str, Any]) -> str:
    rows = [
        [k, ", ".join(f"{n} {x}" for n, x in v.items()) if isinstance(v, dict) else f"{v}"]
        for k, v in run.items()
    ]
    return "<h2>Measured with the real firmware and servers on this machine</h2>" + table(
        ["what", "value"], rows
    )
