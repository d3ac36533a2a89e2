"""`blindsight sim`: what a board pays for a picture, how far the model is off, and what a fleet needs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from blindsight.app import sim_capacity, sim_servers
from blindsight.app.options import JsonOption, check_places
from blindsight.app.sim_options import CsvOption, HtmlOption
from blindsight.hw import profiles
from blindsight.simulator import report, scenario, validate
from blindsight.simulator.cost import Band, Cost, cost, load_board
from blindsight.simulator.cost.band import total
from blindsight.simulator.validate import NOT_ENCRYPTION

HW = profiles.HERE
ScenarioArgument = Annotated[
    str, typer.Argument(help="SCENARIO.toml, or doorbell, wildlife, parking", metavar="SCENARIO")
]


def register(app: typer.Typer) -> None:
    """Adds the group."""
    group = typer.Typer(help="Costs of a board before it is bought, and of a fleet.", no_args_is_help=True)
    app.add_typer(group, name="sim")
    _cost(group)
    _run(group)
    _validate(group)
    sim_servers.register(group)
    sim_capacity.register(group)


def _cost(group: typer.Typer) -> None:
    @group.command("cost")
    def cost_command(
        name: ScenarioArgument = "wildlife",
        board: Annotated[
            list[str] | None, typer.Option(help="instead of the scenario's boards; may repeat; `all`")
        ] = None,
        as_json: JsonOption = False,
        html: HtmlOption = None,
        csv: CsvOption = None,
    ) -> None:
        """Time, energy, RAM, bytes and battery days of every ingest mode, by stage, with their uncertainty."""
        plan = scenario.load(name)
        found = costs_of(plan, board)
        write(plan.title, found, html, csv)
        if as_json:
            typer.echo(json.dumps({"scenario": plan.title, "costs": [c.to_json() for c in found]}))
        else:
            print_costs(plan.title, found)


def _run(group: typer.Typer) -> None:
    @group.command("run")
    def run_command(
        name: ScenarioArgument = "wildlife",
        micropython: Annotated[
            str, typer.Option(help="MicroPython unix port (default: the one beside Python)")
        ] = "",
        as_json: JsonOption = False,
        html: HtmlOption = None,
        csv: CsvOption = None,
    ) -> None:
        """One device with the real firmware against the real servers; its report in the board's time."""
        from blindsight.app import sim_run

        check_places(html, csv)
        plan = scenario.load(name)
        console = Console(stderr=True)
        with console.status("starting") as status:
            done = sim_run.run(
                plan, HW, lambda phase, n, of: status.update(f"{phase} {n} of {of}"), micropython
            )  # fmt: skip
        write(plan.title, done.costs, html, csv, run=done.measured)
        if as_json:
            costs = [c.to_json() for c in done.costs]
            typer.echo(json.dumps({"scenario": plan.title, "measured": done.measured, "costs": costs}))
            return
        table = Table("measured here", "", title=plan.title)
        for key, value in done.measured.items():
            table.add_row(key.replace("_", " "), report.plain(value))
        Console().print(table)
        print_costs("the same pictures on the board, by the model", done.costs)


def _bytes_table(found: list[Cost]) -> Table:
    """Bytes on the air by layer; a line for each way."""
    table = Table(title="bytes of a picture by layer", padding=(0, 0))
    for head in ("board, mode", "way", "payload", "MQTT", "TLS", "TCP", "all"):
        table.add_column(head, overflow="fold")
    for c in found:
        name = f"{c.board.id} {c.workload.mode.label}"
        for way in ("up", "down") if c.bytes is not None else ():
            layers = getattr(c.bytes, way)
            cells = [_line(layers[k]) for k in ("payload", "mqtt", "tls", "tcp")]
            table.add_row(name, way, *cells, _line(total(layers.values())))
            name = ""
        if c.bytes is None:
            table.add_row(name, "no network of its own")
    return table


def _line(b: Band) -> str:
    return short(b.mid) if b.low == b.high else f"{short(b.mid)} {short(b.low)}..{short(b.high)}"


def _validate(group: typer.Typer) -> None:
    @group.command("validate")
    def validate_command(
        hil: Annotated[
            Path, typer.Option(help="metrics of `blindsight hw hil`, where there are any", dir_okay=False)
        ] = Path("hil.jsonl"),
        as_json: JsonOption = False,
        html: HtmlOption = None,
        csv: CsvOption = None,
    ) -> None:
        """Predictions next to published measurements, and next to those of your own boards, with the error of each."""
        rows, own = validate.rows(), validate.measured(HW, hil)
        sections = [
            (heading, list(found[0]), [[report.plain(v) for v in r.values()] for r in found])
            for heading, found in (("Predicted and published", rows), ("Modelled and measured", own))
            if found
        ]
        if html is not None:
            html.write_text(report.page("How far the model is off", [], tables=sections))
        if csv is not None:
            csv.write_text("".join(report.table_csv(head, lines) for _, head, lines in sections))
        if as_json:
            typer.echo(
                json.dumps({"rows": rows, "within_25_percent": validate.within(rows), "measured": own})
            )
            return
        table = Table("what", "predicted ms", "published", "error", "held out", "same config")
        for r in rows:
            spread = f"{r['predicted_ms']:.4g} ({r['predicted_low_ms']:.4g}..{r['predicted_high_ms']:.4g})"
            yes = ["yes" if r[k] else "no" for k in ("held_out", "config_match")]
            table.add_row(r["what"], spread, f"{r['published_ms']:g}", f"{100 * r['error']:+.1f} %", *yes)
        console = Console()
        console.print(table)
        for note in dict.fromkeys((r["counts_from"], r["source"], r["note"]) for r in rows):
            console.print(f"counts: {note[0]}\npublished: {note[1]}\nnote: {note[2]}\n", highlight=False)
        if not own:
            console.print(f"measured on boards: nothing ({hil} holds no metric the model has a figure for)")
            return
        table = Table(
            "body", "what", "modelled", "measured", "spread", "error", title="modelled and measured"
        )
        for r in own:
            m = r["modelled"]
            modelled = f"{m['mid']:.4g} ({m['low']:.4g}..{m['high']:.4g}) {r['unit'].strip('1')}"
            error = "-" if r["error"] is None else f"{100 * r['error']:+.1f} %"
            table.add_row(r["body"], r["what"], modelled, f"{r['measured']:.4g}", f"{r['spread']:.3g}", error)
        console.print(table)


def costs_of(plan: scenario.Scenario, boards: Sequence[str] | None = None) -> list[Cost]:
    """The costs of a scenario, on other boards where they are named (`all`: computers, which do not sleep, idle)."""
    if not boards:
        return [cost(HW, b, w) for b, w in plan.workloads()]
    chosen = [b.id for b in profiles.boards()] if list(boards) == ["all"] else list(boards)
    found = []
    for b in chosen:
        for mode in plan.modes:
            work = replace(plan.work, mode=mode)
            if chosen != list(boards) and work.sleep == "deep" and load_board(HW, b).linux:
                work = replace(work, sleep="none")  # a computer: --board all asks for it as it can be
            found.append(cost(HW, b, work))
    return found


def write(title: str, found: list[Cost], html: Path | None, csv: Path | None, **more: Any) -> None:
    """The files asked for."""
    if html is not None:
        html.write_text(report.page(title, found, **more))
    if csv is not None:
        csv.write_text(report.costs_csv(found))


def short(v: float) -> str:
    """Two digits or whole, k and M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if v >= size:
            return f"{v / size:.2g}{letter}" if v < 10 * size else f"{v / size:.0f}{letter}"
    return f"{v:.2g}" if v < 10 else f"{v:.0f}"


def _spread(b: Band | None) -> str:
    if b is None:
        return "-"
    if b.low == b.high:
        return short(b.mid)
    return f"{short(b.mid)}\n{short(b.low)}..{short(b.high)}"


def print_costs(title: str, found: list[Cost]) -> None:
    """A table of all, and the stages of the first."""
    console = Console()
    table = Table(title=title, show_lines=True, padding=(0, 0))
    heads = ("board", "awake s", "encr. ms", "mJ", "bytes", "RAM B", "block", "days")
    for head in heads:
        table.add_column(head, no_wrap=True, overflow="fold")
    for c in found:
        inner = [s.seconds for s in c.stages if s.name not in NOT_ENCRYPTION - {"hash", "interpreter"}]
        encrypt = Band(*(1e3 * sum(getattr(b, k) for b in inner) for k in ("low", "mid", "high")))
        air = None if c.bytes is None else c.bytes.sum("up") + c.bytes.sum("down")
        table.add_row(
            f"{c.board.id}\n{c.workload.mode.label}", _spread(c.seconds), _spread(encrypt),
            _spread(c.millijoules), _spread(air), _spread(c.ram["total"]), short(c.ram["largest_block"].mid),
            _spread(c.battery_days),
        )  # fmt: skip
    console.print(table)
    console.print(_bytes_table(found))
    console.print(
        "middle and outer bounds; encr.: all that is computed for the picture, TLS apart; bytes: on the air, "
        "both ways; RAM: C core, MicroPython heap and TLS; block: largest in one piece; days: of battery"
    )
    late = sorted({c.board.id for c in found if c.busy.mid > 1})
    if late:
        console.print(
            f"does not keep up with {found[0].workload.per_day:g} pictures a day: {', '.join(late)}"
        )
    guesses = sorted({u.name for c in found for u in c.used if u.kind == "assumed"})
    console.print(
        f"assumed, not measured: {', '.join(guesses)}. --json and --html list every number's source."
    )
