"""`blindsight sim fleet|capacity`: what a fleet does to the servers, and how many of them it needs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from blindsight.app.sim_options import CsvOption, HtmlOption, JsonOption
from blindsight.simulator import capacity, report, scenario
from blindsight.simulator.fleet import Fleet
from blindsight.wire.blocks import Mode


def register(group: typer.Typer) -> None:
    """Adds the commands."""
    _fleet(group)
    _capacity(group)


def _fleet(group: typer.Typer) -> None:
    @group.command("fleet")
    def fleet_command(
        name: Annotated[
            str, typer.Argument(help="SCENARIO.toml with a [fleet] table", metavar="[SCENARIO]")
        ] = "",
        devices: Annotated[int | None, typer.Option(min=1, max=10000, help="simulated devices (100)")] = None,
        each: Annotated[
            int | None, typer.Option(min=0, max=1000, help="pictures of each (1); 0: by pictures a day")
        ] = None,
        seconds: Annotated[
            float | None, typer.Option(min=1, help="the pictures are taken within this time (60)")
        ] = None,
        hours: Annotated[
            float | None, typer.Option(min=0, help="simulated hours that pass in it (0: real time)")
        ] = None,
        model: Annotated[str | None, typer.Option(help="zoo model (mnist)")] = None,
        ingest: Annotated[str | None, typer.Option(help="rlwe, rlwe-sk or aes (rlwe)")] = None,
        firmware: Annotated[
            int | None, typer.Option(min=0, max=32, help="devices more, with the real firmware (1)")
        ] = None,
        sleep: Annotated[
            str | None, typer.Option(help="deep: a connection for each picture; connected: one for all")
        ] = None,
        cut: Annotated[
            float | None,
            typer.Option(min=0, max=1, help="part of the pictures whose connection is cut (0.05)"),
        ] = None,
        loss: Annotated[
            float | None, typer.Option(min=0, max=0.5, help="part of the messages that TCP must repeat (0)")
        ] = None,
        latency_s: Annotated[
            float | None,
            typer.Option("--latency", min=0, max=10, help="mean delay of a message, seconds (0.02)"),
        ] = None,
        bandwidth_kbit_s: Annotated[
            float | None,
            typer.Option("--bandwidth", min=0, help="kbit/s of each device's uplink (0: no limit)"),
        ] = None,
        seed: Annotated[int | None, typer.Option(help="of times, pictures and faults (0)")] = None,
        workers: Annotated[int | None, typer.Option(min=1, max=64, help="worker pairs (1)")] = None,
        ahead: Annotated[
            int | None, typer.Option(min=1, max=10000, help="material made ahead, in pictures (16)")
        ] = None,
        timeout_s: Annotated[
            float | None, typer.Option("--timeout", min=1, help="give up after so many seconds (600)")
        ] = None,
        plan: Annotated[
            bool, typer.Option("--plan", help="print what the seed decides (model outputs), run nothing")
        ] = False,
        as_json: JsonOption = False,
        html: HtmlOption = None,
        csv: CsvOption = None,
    ) -> None:
        """Many devices at once against the real broker and servers: real ciphertexts, a seeded day, faults."""
        from blindsight.app import sim_fleet

        base = scenario.load(name).fleet if name else Fleet().override(firmware=1)
        fleet = base.override(
            devices=devices, each=each, seconds=seconds, hours=hours, model=model, ingest=ingest, firmware=firmware,
            sleep=sleep, cut=cut, loss=loss, latency_s=latency_s, bandwidth_kbit_s=bandwidth_kbit_s, seed=seed,
            workers=workers, ahead=ahead, timeout_s=timeout_s,
        )  # fmt: skip
        fleet.check()
        if plan:
            typer.echo(json.dumps(sim_fleet.model_outputs(fleet), sort_keys=True))
            return
        with Console(stderr=True).status("starting") as status:
            done = sim_fleet.run(fleet, status.update)
        got = done.report
        title = f"{fleet.devices:,} devices against the real servers"
        if html is not None:
            html.write_text(report.fleet_page(title, got))
        if csv is not None:
            csv.write_text(done.csv)
        if as_json:
            typer.echo(json.dumps(got))
        else:
            _print_fleet(title, got)
        if wrong := sim_fleet.verdict(got):
            raise sim_fleet.FleetError(wrong)


_LONG = ("timeline", "memory_timeline", "model_outputs", "groups")


def _print_fleet(title: str, got: dict[str, Any]) -> None:
    console = Console()
    table = Table("what", "measured", title=title)
    for key, value in got.items():
        if key not in _LONG:
            table.add_row(key.replace("_", " "), value if isinstance(value, str) else json.dumps(value))
    console.print(table)
    table = Table(
        "group", "ingest", "pictures", "answered", "lost", "p50 s", "p95 s", "p99 s", "dead", "mJ a picture",
        title="by group; energy and deaths are the model's",
    )  # fmt: skip
    for row, model in zip(got["groups"], got["model_outputs"]["groups"], strict=True):
        waits = ["-" if w is None else f"{w:g}" for w in row["latency_s"].values()]
        counts = [str(row[k]) for k in ("pictures", "answered", "lost")]
        energy = f"{model['millijoules']['mid']:,.0f}"
        table.add_row(row["group"], row["ingest"], *counts, *waits, str(model["deaths"]), energy)
    console.print(table)


def _capacity(group: typer.Typer) -> None:
    @group.command("capacity")
    def capacity_command(
        devices: Annotated[int, typer.Option(help="how many boards, up to 10 million")] = 1000,
        per_day: Annotated[float, typer.Option(help="pictures of each a day")] = 40.0,
        model: Annotated[str, typer.Option(help="whose measured costs: mnist, fashion, cifar")] = "mnist",
        infer: Annotated[
            Path | None,
            typer.Option(help="output of `blindsight infer --json` on your machine, instead", dir_okay=False),
        ] = None,
        ingest: Annotated[str, typer.Option(help="rlwe, rlwe-sk or aes")] = "rlwe",
        peak: Annotated[float, typer.Option(help="busy hour over the day's mean")] = 3.0,
        wait: Annotated[float, typer.Option(help="seconds a picture may wait for a worker")] = 1.0,
        late: Annotated[float, typer.Option(help="part of the pictures that may wait longer")] = 0.05,
        as_json: JsonOption = False,
        html: HtmlOption = None,
    ) -> None:
        """Workers, cores, gigabytes and broker nodes for a fleet, by a stated queueing model."""
        costs, (height, width, channels) = capacity.measured(model, infer)
        fleet = capacity.Fleet(
            devices, per_day, Mode.named(ingest), height, width, channels, peak=peak, wait_s=wait, late=late
        )
        got = capacity.capacity(fleet, costs)
        scale = [10**e for e in range(3, 8)]
        table = [capacity.capacity(replace(fleet, devices=n), costs) for n in scale]
        if html is not None:
            html.write_text(report.page(f"{devices:,} devices", [], tables=_capacity_tables(got, table)))
        if as_json:
            typer.echo(json.dumps({**got, "scale": table}))
            return
        console = Console()
        for heading, head, rows in _capacity_tables(got, table):
            shown = Table(*head, title=heading)
            for row in rows:
                shown.add_row(*row)
            console.print(shown)


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
