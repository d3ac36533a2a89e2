"""`blindsight sim capacity`: how many servers a fleet needs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from blindsight.app.options import JsonOption
from blindsight.app.sim_options import CsvOption, HtmlOption
from blindsight.simulator import capacity, report, scenario
from blindsight.simulator.cost import CostError
from blindsight.wire.blocks import Mode


def register(group: typer.Typer) -> None:
    """Adds the command."""

    @group.command("capacity")
    def capacity_command(
        name: Annotated[
            str, typer.Argument(help="SCENARIO.toml with a [capacity] table", metavar="[SCENARIO]")
        ] = "",
        devices: Annotated[int | None, typer.Option(help="how many boards, up to 10 million (1000)")] = None,
        per_day: Annotated[float | None, typer.Option(help="pictures of each a day (40)")] = None,
        model: Annotated[str | None, typer.Option(help="whose measured costs: mnist, fashion, cifar")] = None,
        costs: Annotated[
            Path | None,
            typer.Option(
                "--costs",
                "--infer",
                help="output of `sim measure --out` (or `infer --json`) on your machine",
                dir_okay=False,
            ),
        ] = None,
        ingest: Annotated[str | None, typer.Option(help="rlwe, rlwe-sk or aes (rlwe)")] = None,
        peak: Annotated[float | None, typer.Option(help="busy hour over the day's mean (3)")] = None,
        wait: Annotated[
            float | None, typer.Option(help="seconds a picture may wait for a worker (1)")
        ] = None,
        late: Annotated[float | None, typer.Option(help="part that may wait longer (0.05)")] = None,
        as_json: JsonOption = False,
        html: HtmlOption = None,
        csv: CsvOption = None,
    ) -> None:
        """Workers, cores, gigabytes and broker nodes for a fleet, by a stated queueing model."""
        plan = scenario.load(name).capacity if name else scenario.Capacity()
        given = {
            "devices": devices, "per_day": per_day, "model": model, "ingest": ingest, "peak": peak, "wait_s": wait,
            "late": late,
        }  # fmt: skip
        plan = replace(plan, **{k: v for k, v in given.items() if v is not None})
        found, (height, width, channels) = capacity.measured(plan.model, costs)
        fleet = capacity.Fleet(
            plan.devices, plan.per_day, Mode.named(plan.ingest), height, width, channels, peak=plan.peak,
            wait_s=plan.wait_s, late=plan.late, busy_hours=plan.busy_hours, tls=plan.tls,
        )  # fmt: skip
        got = capacity.capacity(fleet, found)
        table = [r for e in range(3, 8) if (r := _at_size(fleet, 10**e, found)) is not None]
        sections = _capacity_tables(got, table)
        if html is not None:
            html.write_text(report.page(f"{plan.devices:,} devices", [], tables=sections))
        if csv is not None:
            keys = [k for k, v in got.items() if isinstance(v, int | float)]
            csv.write_text(report.table_csv(keys, [[str(r[k]) for k in keys] for r in (got, *table)]))
        if as_json:
            typer.echo(json.dumps({**got, "scale": table}))
            return
        console = Console()
        for heading, head, rows in sections:
            shown = Table(*head, title=heading)
            for row in rows:
                shown.add_row(*row)
            console.print(shown)


def _at_size(fleet: capacity.Fleet, devices: int, costs: capacity.Servers) -> dict[str, Any] | None:
    """The same for so many devices; None where that is beyond the model."""
    try:
        return capacity.capacity(replace(fleet, devices=devices), costs)
    except CostError:
        return None


_SCALE = (
    "devices",
    "busy_hour_per_s",
    "worker_pairs",
    "online_cores",
    "offline_cores",
    "material_gb_a_day",
    "broker_nodes",
)


def _capacity_tables(
    got: dict[str, Any], scale: list[dict[str, Any]]
) -> list[tuple[str, list[str], list[list[str]]]]:
    rows = [[k, f"{v:,}" if isinstance(v, int | float) else v] for k, v in got.items() if k != "assumed"]
    rows += [[k, f"assumed {a['value']:,.4g}: {a['why']}"] for k, a in got["assumed"].items()]
    heads = [k.replace("_", " ") for k in _SCALE]
    return [
        (f"{got['devices']:,} devices", ["what", "how much"], rows),
        ("the same at other sizes", heads, [[f"{r[k]:,}" for k in _SCALE] for r in scale]),
    ]
