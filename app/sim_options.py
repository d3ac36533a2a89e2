"""Options that the `sim` commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HtmlOption = Annotated[Path | None, typer.Option("--html", help="one self-contained page", dir_okay=False)]
CsvOption = Annotated[Path | None, typer.Option("--csv", help="the rows as CSV", dir_okay=False)]
