"""`blindsight material`: what the stores of a server hold, and their destruction."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from blindsight.app.options import JsonOption
from blindsight.offline.store import Store, pool_folders, stored_pools
from blindsight.wire.jobs import INGESTS


class MaterialError(Exception):
    """An option that cannot be used; one line that names the fix."""


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The material pools of a server.", no_args_is_help=True)
    app.add_typer(group, name="material")
    folder = Annotated[
        Path,
        typer.Argument(
            help="the server's material folder (`material` in the folder that `data` of its TOML file names)"
        ),
    ]

    @group.command("list")
    def list_pools(path: folder, as_json: JsonOption = False) -> None:
        """Pools in a folder: slots left, cursor, bytes on disk. The server may run."""
        rows = stored_pools(path)
        if as_json:
            print(json.dumps({"pools": rows}))
            return
        table = Table("pool", "slots left", "next slot", "batches", "bytes")
        for row in rows:
            table.add_row(row["pool"], *(f"{row[k]:,}" for k in ("left", "cursor", "batches", "bytes")))
        Console().print(table)

    @group.command("make")
    def make(
        config: Annotated[Path, typer.Option(help="the cloud's TOML file")],
        slots: Annotated[int, typer.Option(help="fill every pool up to this many")] = 64,
        kind: Annotated[str, typer.Option(help="mask (lattice modes) or xor (aes)")] = "mask",
        as_json: JsonOption = False,
    ) -> None:
        """Fill the pools of a stopped cloud together with a running helper. A running cloud fills its own."""
        from blindsight.cloud.config import CloudConfig
        from blindsight.cloud.service import CloudService
        from blindsight.service.config import load

        if kind not in INGESTS or slots < 1:
            raise MaterialError(f"--kind is one of {', '.join(INGESTS)}, --slots at least 1")
        settings = dataclasses.replace(load(CloudConfig, config), ingress=False)
        made = CloudService(settings).fill(kind, slots)
        if not all(made.values()):
            raise MaterialError(
                "no model that both servers hold: add one with `blindsight model add`, its plan at the helper too"
            )
        if as_json:
            print(json.dumps({"material": made}))
            return
        for pair, models in made.items():
            for model, left in models.items():
                print(f"{pair} {model}: {left} slots")

    @group.command("purge")
    def purge(path: folder, as_json: JsonOption = False) -> None:
        """Destroy all material in a folder. Stop the server first; purge the other server's too."""
        purged = {}
        for pool in pool_folders(path):
            store = Store(pool, None)
            purged[str(pool.relative_to(path))] = store.purge()
            store.close()
        if as_json:
            print(json.dumps({"purged": purged}))
            return
        for name, slots in purged.items():
            print(f"{name}: {slots} unused slots destroyed")
