"""What every benchmark script shares: the context of a figure, CSV files, the printed table, the command line.

A script measures rows (one dictionary each) and calls `main(NAME, DESCRIPTION, measure)` with `measure(quick)`. Its table
goes to bench/results/NAME.csv when all rows are there, with `--quick` to build/bench/NAME.csv instead: a quick run checks
the script, its figures are of small sizes.
"""

import argparse
import csv
import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
RESULTS, QUICK = ROOT / "bench/results", ROOT / "build/bench"
Row = dict[str, Any]


def context() -> dict[str, str]:
    """What a figure depends on beside the code."""

    def first_line(*command: str) -> str:
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
        except (OSError, subprocess.CalledProcessError, IndexError):
            return "unknown"

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.machine())
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "commit": first_line("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"),
        "machine": cpu,
        "cores": str(len(os.sched_getaffinity(0))),
        "load": f"{os.getloadavg()[0]:.1f}",
        "compiler": first_line("c++", "--version"),
    }


def scalars(row: Row) -> Row:
    """The row with nested objects flattened as name.key, and lists left out."""
    out: Row = {}
    for name, value in row.items():
        if isinstance(value, dict) and all(not isinstance(v, dict | list) for v in value.values()):
            out |= {f"{name}.{key}": v for key, v in value.items()}
        elif not isinstance(value, dict | list):
            out[name] = value
    return out


def save(name: str, rows: list[Row], quick: bool, about: dict[str, str]) -> Path:
    """Write the table whole, or leave the one before as it is."""
    folder = QUICK if quick else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.csv"
    rows = [scalars(row) for row in rows]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with open(path.with_suffix(".part"), "w", newline="") as file:
        writer = csv.DictWriter(file, [*columns, *about])
        writer.writeheader()
        writer.writerows({**row, **about} for row in rows)
    path.with_suffix(".part").replace(path)
    return path


def show(name: str, rows: list[Row]) -> None:
    """Print the table."""
    rows = [scalars(row) for row in rows]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(*columns, title=name)
    for row in rows:
        cells = (row.get(c, "") for c in columns)
        table.add_row(*(f"{v:,.4g}" if isinstance(v, float) else str(v) for v in cells))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def say(what: str) -> None:
    """A line of progress."""
    print(f"  {what}", file=sys.stderr, flush=True)


def finish(name: str, rows: list[Row], quick: bool, as_json: bool) -> None:
    """Save, then print as a table or as one JSON object."""
    about = context()
    path = save(name, rows, quick, about)
    if as_json:
        print(json.dumps({"bench": name, "rows": rows, **about}))
    else:
        show(name, rows)
    say(f"{path.relative_to(ROOT)} written")


def options(description: str | None) -> argparse.ArgumentParser:
    """The options every script has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, into build/bench: checks the script"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return parser


def main(name: str, description: str | None, measure: Callable[[bool], list[Row]]) -> None:
    """The command line of a script without options of its own."""
    args = options(description).parse_args()
    finish(name, measure(args.quick), args.quick, args.json)


def infer(model: str, *more: str) -> Row:
    """One run of `blindsight infer`.

    Raises:
        SystemExit: it failed; its line.
    """
    say(f"infer {Path(model).stem} {' '.join(more)}")
    command = [sys.executable, "-m", "blindsight.app.cli", "infer", "--json", "--model", model, *more]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"infer {model} {' '.join(more)}: {' '.join(done.stderr.split()[-40:])}")
    return json.loads(done.stdout)
