"""`blindsight store`: what the cloud's store holds, and its quarantine."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from blindsight.app.options import JsonOption
from blindsight.cloud.config import CloudConfig
from blindsight.cloud.store import Pictures
from blindsight.service.config import load

ConfigOption = Annotated[Path, typer.Option("--config", help="the cloud's TOML file")]


def register(app: typer.Typer) -> None:
    """Adds the group."""
    group = typer.Typer(help="The cloud's store: pictures by state, quarantine.", no_args_is_help=True)
    app.add_typer(group, name="store")

    @group.command("status")
    def status(config: ConfigOption, as_json: JsonOption = False) -> None:
        """Pictures by state, and messages in quarantine. The cloud may run."""
        pictures = _open(config)
        counts, held = pictures.counts(), len(pictures.quarantined())
        pictures.close()
        if as_json:
            typer.echo(json.dumps({"pictures": counts, "quarantined": held}))
            return
        for state, count in sorted(counts.items()):
            typer.echo(f"{state}: {count}")
        typer.echo(f"in quarantine: {held}")

    @group.command("quarantine")
    def quarantine(
        config: ConfigOption,
        release: Annotated[bool, typer.Option("--release", help="forget them all")] = False,
        as_json: JsonOption = False,
    ) -> None:
        """Messages that met a defect: topic, size, what happened. Please report it."""
        pictures = _open(config)
        rows = [
            {
                "topic": r["topic"], "bytes": len(r["payload"]), "error": r["error"],
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(r["created"])),
            }
            for r in pictures.quarantined()
        ]  # fmt: skip
        if release:
            pictures.release()
            pictures.database.scrub()
        pictures.close()
        if as_json:
            typer.echo(json.dumps({"quarantine": rows}))
            return
        for row in rows:
            typer.echo("{time} {topic} {bytes} bytes: {error}".format(**row))
        typer.echo(f"{len(rows)} messages{' forgotten' if release else ''}")


def _open(config: Path) -> Pictures:
    return Pictures(load(CloudConfig, config).database)
