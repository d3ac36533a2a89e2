"""`blindsight material`: what the stores of a server hold, and their destruction."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from blindsight.offline.store import Store, stored_pools


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The material pools of a server.", no_args_is_help=True)
    app.add_typer(group, name="material")
    folder = Annotated[
        Path, typer.Argument(help="the server's material folder (`material` in its TOML file)")
    ]
    as_json_option = Annotated[bool, typer.Option("--json", help="one JSON object on standard output")]

    @group.command("list")
    def list_pools(path: folder, as_json: as_json_option = False) -> None:
        """Pools in a folder: slots left, cursor, bytes on disk. The server may run."""
        rows = stored_pools(path)
        if as_json:
            print(json.dumps({"pools": rows}))
            return
        table = Table("pool", "slots left", "next slot", "batches", "bytes")
        for row in rows:
            table.add_row(row["pool"], *(f"{row[k]:,}" for k in ("left", "cursor", "batches", "bytes")))
        Console().print(table)

    @group.command("purge")
    def purge(path: folder, as_json: as_json_option = False) -> None:
        """Destroy all material in a folder. Stop the server first; purge the other server's too."""
        purged = {}
        for row in stored_pools(path):
            store = Store(path / row["pool"], None)
            purged[row["pool"]] = store.purge()
            store.close()
        if as_json:
            print(json.dumps({"purged": purged}))
            return
        for pool, slots in purged.items():
            print(f"{pool}: {slots} unused slots destroyed")
