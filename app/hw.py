"""`blindsight hw`: boards on the desk, and boards that are emulated."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from blindsight.hw import profiles

JsonOption = Annotated[bool, typer.Option("--json", help="one JSON object on standard output")]


def register(app: typer.Typer) -> None:
    """Adds the group."""
    group = typer.Typer(
        help="Boards: what is known of them, flashing, provisioning, tests.", no_args_is_help=True
    )
    app.add_typer(group, name="hw")
    _known(group)


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
