"""`make bench`: run every benchmark, write bench/results/<table>.csv, print what was measured.

    python -m bench [TABLE ...]

Each table is one script that prints one JSON object with `--json`: a row, or `rows`. Every row is written
with the machine, the commit and the compiler. Two cores are shared by both parties, and figures depend on
what else the machine was doing: compare within a run.
"""

import csv
import datetime
import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
INFER = [sys.executable, "-m", "blindsight.app.cli", "infer", "--json", "--model"]
TABLES: dict[str, list[list[str]]] = {
    "ntt": [[sys.executable, "-m", "bench.ntt", "--json"]],
    "ot": [[sys.executable, "-m", "bench.ot", "--json"]],
    "relu": [[sys.executable, "-m", "bench.relu", "--json"]],
    "linear": [[sys.executable, "-m", "bench.linear", "--json"]],
    "infer": [
        [*INFER, model, "--count", "32", "--link", link]
        for model in ("mnist", "fashion", "cifar")
        for link in ("lan", "wan")
    ],
}


def context() -> dict[str, str]:
    """What a figure depends on beside the code."""

    def first_line(*command: str) -> str:
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
        except (OSError, subprocess.CalledProcessError, IndexError):
            return "unknown"

    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "commit": first_line("git", "rev-parse", "--short", "HEAD"),
        "machine": cpu,
        "compiler": first_line("c++", "--version"),
    }


def scalars(row: dict[str, Any]) -> dict[str, Any]:
    """The row with nested objects flattened as name.key, and lists left out."""
    out: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict) and all(not isinstance(v, dict | list) for v in value.values()):
            out |= {f"{name}.{key}": v for key, v in value.items()}
        elif not isinstance(value, dict | list):
            out[name] = value
    return out


def measure(commands: list[list[str]]) -> list[dict[str, Any]]:
    """The rows of one table."""
    rows = []
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command[1:])} failed: {done.stderr.strip().splitlines()[-1:]}")
        result = json.loads(done.stdout)
        rows += [scalars(row) for row in result.get("rows", [result])]
    return rows


def main() -> None:
    names = sys.argv[1:] or list(TABLES)
    if unknown := set(names) - set(TABLES):
        raise SystemExit(f"no table {', '.join(sorted(unknown))}: there are {', '.join(TABLES)}")
    RESULTS.mkdir(exist_ok=True)
    out, about = Console(), context()
    for name in names:
        rows = measure(TABLES[name])
        columns = list(dict.fromkeys(key for row in rows for key in row))
        with open(RESULTS / f"{name}.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, [*columns, *about])
            writer.writeheader()
            writer.writerows({**row, **about} for row in rows)
        table = Table(*columns, title=name)
        for row in rows:
            table.add_row(
                *(f"{v:,.4g}" if isinstance(v := row.get(c, ""), float) else str(v) for c in columns)
            )
        out.print(table)


if __name__ == "__main__":
    main()
