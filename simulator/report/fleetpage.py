"""The page of a fleet's run: throughput and backlog, latencies, memory, and a device's day, as one file."""

from __future__ import annotations

import itertools
from html import escape
from typing import Any

from blindsight.simulator.cost import Cost
from blindsight.simulator.report import svg
from blindsight.simulator.report.page import cost_parts
from blindsight.simulator.report.parts import document, plain, table

OWN = ("timeline", "memory_timeline", "model_outputs", "groups", "rss_mb", "cores")  # shown apart


def fleet_page(title: str, got: dict[str, Any], costs: list[Cost] | None = None) -> str:
    """Of the object that `sim fleet --json` prints, and of what a picture costs each group's board."""
    line = got["timeline"]
    times = [float(p["t"]) for p in line]
    rates = [
        (b["t"], 60 * (b["answered"] - a["answered"]) / max(b["t"] - a["t"], 1e-9))
        for a, b in itertools.pairwise(line)
    ]
    spans = [(e["from_s"], e["to_s"], e["what"]) for e in got["model_outputs"]["events"]]
    shaded = "; ".join(f"{n} from {a:g} s to {b:g} s" for a, b, n in spans)
    parts = [
        "<p>Measured on this machine with the real servers; the groups' energy and deaths are the cost model's.</p>",
        table(
            ["what", "measured"],
            [[k.replace("_", " "), plain(v)] for k, v in got.items() if k not in OWN],
        ),
        "<h2>Backlog: pictures taken and not yet answered</h2>",
        f"<p>Shaded: {escape(shaded)}.</p>" if shaded else "",
        svg.line(list(zip(times, (float(p["backlog"]) for p in line), strict=True)), "s", "pictures", "backlog", spans=spans),
        "<h2>Throughput: answers a minute</h2>",
        svg.line(rates, "s", "a minute", "throughput", steps=True, spans=spans),
        "<h2>Latency from the picture to its answer</h2>",
        svg.stacked(
            [(f"{row['group']}, {q}", [("seconds", row["latency_s"][q] or 0.0)]) for row in got["groups"] for q in row["latency_s"]],
            "s", "latency percentiles",
        ),
        "<h2>Resident memory</h2>",
        table(
            ["process", "MB at the start", "after the warm-up", "at the end", "MB a minute after the warm-up", "cores kept busy"],
            [
                [n, *(f"{m[k]:g}" for k in ("start", "warm", "end")), f"{m['mb_per_minute']:+.3f}", f"{got['cores'][n]:g}"]
                for n, m in got["rss_mb"].items()
            ],
        ),
    ]  # fmt: skip
    memory = got["memory_timeline"]
    for name in (k for k in memory if k != "t"):
        points = list(zip(memory["t"], memory[name], strict=True))
        parts += [f"<h3>{name}</h3>", svg.line(points, "s", "MB", f"resident memory of {name}")]
    parts += _groups(got)
    if costs:
        parts += ["<h2>What a picture costs the boards</h2>", *cost_parts(costs)]
    return document(title, parts)


def _groups(got: dict[str, Any]) -> list[str]:
    rows = []
    parts = ["<h2>Groups</h2>"]
    for ran, model in zip(got["groups"], got["model_outputs"]["groups"], strict=True):
        energy, days = model["millijoules"], model["battery_days"]
        rows.append(
            [
                ran["group"], model["board"], f"{model['model']}, {model['ingest']}", str(model["devices"]),
                f"{ran['answered']} of {ran['pictures']}", str(ran["lost"]), str(model["deaths"]), str(model["unfinished"]),
                _band(energy), "-" if days is None else _band(days), str(model["payload_bytes"]),
            ]
        )  # fmt: skip
    head = [
        "group", "board", "network, ingest", "devices", "answered", "lost", "cells empty", "pictures unfinished by it",
        "mJ a picture", "battery days", "payload bytes",
    ]  # fmt: skip
    parts.append(table(head, rows))
    for model in got["model_outputs"]["groups"]:
        first = model["first_device"]
        if first is None:
            continue
        name, end = model["group"], got["model_outputs"]["seconds"]
        parts += [
            f"<h2>The day of the first device of {name}</h2>",
            svg.events(first["taken_s"], end, "s", f"pictures of the first device of {name}"),
        ]
        if "charge" in first:
            points = [(float(t), 100 * float(c)) for t, c in first["charge"]]
            parts.append(svg.line(points, "s", "% full", f"charge of the first device of {name}"))
    return parts


def _band(b: dict[str, float]) -> str:
    return f"{svg.number(b['mid'])} ({svg.number(b['low'])} to {svg.number(b['high'])})"
