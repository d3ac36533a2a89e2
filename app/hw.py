"""`blindsight hw`: boards on the desk, and boards that are emulated."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from blindsight.app import hw_board, hw_emulate, hw_update
from blindsight.app.options import JsonOption
from blindsight.hw import profiles


def register(app: typer.Typer) -> None:
    """Adds the group."""
    group = typer.Typer(
        help="Boards: what is known of them, flashing, provisioning, tests.", no_args_is_help=True
    )
    app.add_typer(group, name="hw")
    _known(group)
    hw_board.add_to(group)
    _hil(group)
    hw_update.add_to(group)
    hw_emulate.add_to(group)
    _energy(group)


def _known(group: typer.Typer) -> None:
    @group.command("list")
    def list_boards(
        board: Annotated[str, typer.Argument(help="a board, for all that is known of it")] = "",
        as_json: JsonOption = False,
    ) -> None:
        """Boards, or every number of one board with its source."""
        found = [profiles.load_board(board)] if board else profiles.boards()
        if as_json:
            typer.echo(json.dumps({"boards": [profiles.as_json(b) for b in found]}))
        else:
            Console().print(_facts(found[0]) if board else _overview(found))

    @group.command("measure")
    def measure(
        target: Annotated[str, typer.Option(help="cortex-m4, cortex-m7, rv32imc, xtensa, aarch64, armv7")],
        as_json: JsonOption = False,
    ) -> None:
        """Count the device core's instructions, stack and RAM on an emulated core; known answers are checked."""
        from blindsight.hw import qemu

        got = qemu.measure(target)
        if as_json:
            typer.echo(json.dumps(got))
            return
        table = Table(
            "mode", "instructions", "stack B", "RAM B", "bytes out", title=f"{target}: 1,024 pixels"
        )
        for mode, row in got["modes"].items():
            table.add_row(
                mode, *(f"{row[k]:,}" for k in ("instructions", "stack_bytes", "ram_bytes", "bytes_out"))
            )
        Console().print(table)
        typer.echo(
            f"code {got['code_bytes']:,} B; {got['compiler']}; {got['flags']}; stands for {got['stands_for']}"
        )


def _hil(group: typer.Typer) -> None:
    @group.command("hil")
    def hil(
        body: Annotated[
            str,
            typer.Option(
                help="unix, qemu-m4, qemu-m7, qemu-rv32, qemu-xtensa, serial:PORT, rfc2217://..., map"
            ),
        ] = "",
        hardware_map: Annotated[
            Path | None, typer.Option(help="YAML file of the bench", dir_okay=False)
        ] = None,
        metrics: Annotated[Path, typer.Option(help="JSONL file to append to", dir_okay=False)] = Path(
            "hil.jsonl"
        ),
        deploy: Annotated[bool, typer.Option("--deploy", help="real boards may be written to")] = False,
        plot: Annotated[
            Path | None, typer.Option(help="PNG: against the last run and the published figures")
        ] = None,
        as_json: JsonOption = False,
    ) -> None:
        """Run the device tests on boards, real or emulated: one table."""
        from blindsight.hw.hil import run as suite

        got = suite.run(body, hardware_map, metrics, deploy)
        why = suite.verdict(got["bodies"])
        if as_json:
            typer.echo(json.dumps(got))
        else:
            table = Table("body", "passed", "failed", "skipped", "quarantined")
            for name, row in got["bodies"].items():
                table.add_row(name, *(str(row[k]) for k in ("passed", "failed", "skipped", "quarantined")))
            Console().print(table)
            table = Table("body", "metric", "median", "spread", "against last run", "against published")
            for r in sorted(got["metrics"], key=lambda r: list(got["bodies"]).index(r["body"])):
                values = (f"{_number(r['median'])} {r['unit']}".removesuffix(" 1"), _number(r["spread"]))
                changes = (suite.change(r["median"], r[k]) for k in ("last", "model"))
                table.add_row(r["body"], r["metric"], *values, *changes)
            if got["metrics"]:
                Console().print(table)
        if plot is not None:
            suite.plot(got["metrics"], plot)
        if why:
            raise suite.HilError(why)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:.4g}"


def _energy(group: typer.Typer) -> None:
    @group.command("energy")
    def energy(
        trace: Annotated[Path, typer.Argument(help="CSV of a PPK2 or Joulescope", dir_okay=False)],
        volts: Annotated[
            float | None, typer.Option(min=0.1, help="supply, where the trace has no voltage")
        ] = None,
        begin: Annotated[float, typer.Option("--from", help="seconds after the first sample")] = 0,
        end: Annotated[float, typer.Option("--to", help="seconds after the first sample")] = math.inf,
        as_json: JsonOption = False,
    ) -> None:
        """Measured energy of a power meter's trace."""
        from blindsight.hw.energy import energy as run

        got = run(trace, volts, begin, end)
        if as_json:
            typer.echo(json.dumps(got))
            return
        typer.echo(
            f"{1000 * got['joules']:.4g} mJ in {got['seconds']:.4g} s, mean {got['mean_ma']:.4g} mA, peak {got['peak_ma']:.4g} mA"
        )


def _overview(found: list[profiles.Board]) -> Table:
    table = Table("board", "chip", "CPU", "MHz", "camera", "install")
    for b in found:
        clock = b.profile["compute.clock"].value
        table.add_row(b.id, b.profile.title, b.profile.cpu, f"{clock:g}", b.camera, b.install)
    return table


def _facts(board: profiles.Board) -> Table:
    title = board.title + (f" ({board.note})" if board.note else "")
    table = Table("number", "value", "kind", "conditions", "source", title=title)
    for name, q in board.profile.quantities.items():
        spread = f" ({q.low:g} to {q.high:g})" if q.low is not None and q.high is not None else ""
        table.add_row(name, f"{q.value:g} {q.unit}{spread}", q.label, q.conditions, q.source)
    return table
