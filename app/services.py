"""`blindsight cloud` and `blindsight helper`: the two services in the foreground, until SIGTERM."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blindsight.service.main import SET_HELP

ConfigOption = Annotated[Path, typer.Option("--config", help="the service's TOML file", metavar="F.toml")]

SetOption = Annotated[list[str] | None, typer.Option("--set", help=SET_HELP, metavar="NAME=VALUE")]


def register(app: typer.Typer) -> None:
    """Adds the commands. Each service's room is imported when it runs: neither machine needs the other's."""

    @app.command("cloud")
    def cloud(config: ConfigOption, settings: SetOption = None) -> None:
        """The cloud server (party 0): ingress, jobs, the network."""
        from blindsight.cloud.__main__ import run

        raise typer.Exit(run(config, settings or ()))

    @app.command("helper")
    def helper(config: ConfigOption, settings: SetOption = None) -> None:
        """The helper server (party 1): device keys, decryption of masked pictures, sealed shares."""
        from blindsight.helper.__main__ import run

        raise typer.Exit(run(config, settings or ()))
