"""What commands share: the option that every one has, the answer it asks for, a look at where files are to go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="one JSON object on standard output")]


class PlaceError(Exception):
    """A file cannot be written there; one line that names the fix."""


def check_places(*files: Path | None) -> None:
    """Before work that takes long: the folders of the files it will write are there.

    Raises:
        PlaceError: one is not.
    """
    for file in files:
        if file is not None and not file.parent.is_dir():
            raise PlaceError(f"{file}: there is no folder {file.parent}: make it first")
        if file is not None and file.is_dir():
            raise PlaceError(f"{file}: a folder: name a file")


def answer(as_json: bool, found: dict[str, Any], text: str) -> None:
    """One JSON object on one line, or the text."""
    typer.echo(json.dumps(found) if as_json else text)
