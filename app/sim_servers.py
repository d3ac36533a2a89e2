"""`blindsight sim fleet|knee|measure`: what a fleet does to the servers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from blindsight.app.options import JsonOption, check_places
from blindsight.app.sim_options import CsvOption, HtmlOption
from blindsight.simulator import report, scenario
from blindsight.simulator.fleet import Fleet


def register(group: typer.Typer) -> None:
    """Adds the commands."""
    _fleet(group)
    _knee(group)
    _measure(group)


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

        check_places(html, csv)
        base = scenario.load(name).fleet if name else Fleet().override(firmware=1)
        fleet = base.override(
            devices=devices, each=each, seconds=seconds, hours=hours, model=model, ingest=ingest, firmware=firmware,
            sleep=sleep, cut=cut, loss=loss, latency_s=latency_s, bandwidth_kbit_s=bandwidth_kbit_s, seed=seed,
            workers=workers, ahead=ahead, timeout_s=timeout_s,
        )  # fmt: skip
        fleet.check()
        if plan:
            outputs = sim_fleet.model_outputs(fleet)
            if as_json:
                typer.echo(json.dumps(outputs))
            else:
                Console().print(model_table(outputs), f"timetable {outputs['timetable_sha256']}")
            return
        with Console(stderr=True).status("starting") as status:
            done = sim_fleet.run(fleet, status.update)
        got = done.report
        title = f"{fleet.devices:,} devices against the real servers"
        if html is not None:
            html.write_text(report.fleet_page(title, got, done.costs))
        if csv is not None:
            csv.write_text(done.csv)
        if as_json:
            typer.echo(json.dumps(got))
        else:
            _print_fleet(title, got)
        if wrong := sim_fleet.verdict(got):
            raise sim_fleet.FleetError(wrong)


def _print_fleet(title: str, got: dict[str, Any]) -> None:
    console = Console()
    table = Table("what", "measured", title=title)
    for key, value in got.items():
        if key not in report.OWN:
            table.add_row(key.replace("_", " "), report.plain(value))
    console.print(table)
    table = Table("group", title="by group: measured", padding=(0, 0))
    for head in ("ingest", "pictures", "answered", "lost", "p50 s", "p95 s", "p99 s"):
        table.add_column(head, overflow="fold")
    for row in got["groups"]:
        waits = ["-" if w is None else f"{w:.3g}" for w in row["latency_s"].values()]
        table.add_row(
            row["group"], row["ingest"], *(str(row[k]) for k in ("pictures", "answered", "lost")), *waits
        )
    console.print(table)
    console.print(model_table(got["model_outputs"]))
    table = Table(
        "process",
        "MB at start",
        "warm",
        "end",
        "MB a minute",
        "cores busy",
        title="resident memory",
        padding=(0, 0),
    )
    for name, m in got["rss_mb"].items():
        numbers = [f"{m[k]:.1f}" for k in ("start", "warm", "end")]
        table.add_row(name, *numbers, f"{m['mb_per_minute']:+.3f}", f"{got['cores'][name]:.3f}")
    console.print(table)


def model_table(outputs: dict[str, Any]) -> Table:
    """What the seed decides, by group."""
    table = Table("group", title=f"by group: the model's, seed {outputs['seed']}", padding=(0, 0))
    for head in (
        "board",
        "pictures",
        "cut",
        "dead",
        "half sent",
        "missed",
        "mJ each",
        "battery days",
    ):
        table.add_column(head, overflow="fold")
    for g in outputs["groups"]:
        counts = [str(g[k]) for k in ("pictures", "cut", "deaths", "unfinished", "not_taken")]
        days = "-" if g["battery_days"] is None else f"{g['battery_days']['mid']:.0f}"
        table.add_row(g["group"], g["board"], *counts, f"{g['millijoules']['mid']:,.0f}", days)
    return table


def _knee(group: typer.Typer) -> None:
    @group.command("knee")
    def knee_command(
        rate: Annotated[
            list[float] | None, typer.Option(help="pictures a second; may repeat (0.5 to 48)")
        ] = None,
        seconds: Annotated[float, typer.Option(min=5, max=600, help="of each rate")] = 20.0,
        model: Annotated[str, typer.Option(help="zoo model")] = "mnist",
        ingest: Annotated[str, typer.Option(help="rlwe, rlwe-sk or aes")] = "rlwe",
        workers: Annotated[int, typer.Option(min=1, max=64, help="worker pairs")] = 1,
        as_json: JsonOption = False,
        html: HtmlOption = None,
        csv: CsvOption = None,
    ) -> None:
        """Offers the servers more and more pictures a second until they no longer keep up."""
        from blindsight.app import sim_measure

        check_places(html, csv)
        rates = rate or [0.5, 1, 2, 4, 6, 8, 12, 16, 24, 32, 48]
        if not all(0 < r <= 1000 for r in rates):
            raise typer.BadParameter("rates are above 0 and up to 1000", param_hint="--rate")
        with Console(stderr=True).status("starting") as status:
            got = sim_measure.knee(model, ingest, rates, seconds, workers, status.update)
        if html is not None:
            html.write_text(report.knee_page(got))
        if csv is not None:
            csv.write_text(
                report.table_csv(
                    list(got["steps"][0]), [list(map(report.plain, r.values())) for r in got["steps"]]
                )
            )
        if as_json:
            typer.echo(json.dumps(got))
            return
        table = Table(
            "offered/s", "answered/s", "p50 s", "p95 s", "left at end", "pair busy", "cloud", "helper", "broker",
            title=f"{model}, {ingest}, {workers} worker pair(s); {got['machine']}",
        )  # fmt: skip
        for r in got["steps"]:
            cores = [f"{r['cores'][n]:g}" for n in ("cloud", "helper", "broker")]
            numbers = [r["offered_per_s"], r["answered_per_s"], r["latency_s"]["p50"], r["latency_s"]["p95"]]
            table.add_row(
                *(f"{v:g}" for v in numbers), str(r["backlog_at_end"]), f"{r['pair_busy']:g}", *cores
            )
        console = Console()
        console.print(table)
        console.print(
            f"kept up to {got['kept_up_to_per_s']:g} a second; most answered {got['most_answered_per_s']:g} a second"
            + ("" if got["found"] else "; the knee lies higher: give higher rates")
        )


def _measure(group: typer.Typer) -> None:
    @group.command("measure")
    def measure_command(
        model: Annotated[str, typer.Option(help="zoo model")] = "mnist",
        ingest: Annotated[str, typer.Option(help="rlwe, rlwe-sk or aes")] = "rlwe",
        pictures: Annotated[int, typer.Option(min=5, max=900, help="how many, one at a time")] = 40,
        out: Annotated[
            Path | None, typer.Option(help="file for `sim capacity --costs`", dir_okay=False)
        ] = None,
        as_json: JsonOption = False,
    ) -> None:
        """What a picture costs the servers of this machine: the numbers `sim capacity` plans with."""
        from blindsight.app import sim_measure

        check_places(out)
        with Console(stderr=True).status("starting") as status:
            got = sim_measure.measure(model, ingest, pictures, status.update)
        if out is not None:
            out.write_text(json.dumps(got, indent=1) + "\n")
        if as_json:
            typer.echo(json.dumps(got))
            return
        table = Table("what", "measured", title=f"a picture of {model}, {ingest}; {got['machine']}")
        for key, value in got.items():
            table.add_row(key.replace("_", " "), report.plain(value))
        Console().print(table)
