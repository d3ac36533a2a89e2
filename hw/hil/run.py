"""`blindsight hw hil`: the suite on several bodies, one table, compared with the last run and with what is published."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SUITE = Path(__file__).resolve().parent / "suite"


class HilError(Exception):
    """The suite did not run or did not pass; one line that says where to look."""


def run(
    bodies: str, hardware_map: Path | None, metrics: Path, deploy: bool = False, tests: Path = SUITE
) -> dict[str, Any]:
    """Runs the suite; pytest's own output goes to standard error.

    Returns `bodies` {name: {`passed`, `failed`, `skipped`, `quarantined`}}, `metrics` (rows of this run, each with
    `last`, the median of the run before on this body, or None), `run` (its time).
    """
    before = read_metrics(metrics)
    with tempfile.TemporaryDirectory() as folder:
        summary = Path(folder) / "summary.json"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-c",
            str(SUITE / "pytest.ini"),
            "-p",
            "blindsight.hw.hil",
            str(tests),
        ]
        command += [
            "--body",
            bodies,
            "--hil-summary",
            str(summary),
            "--hil-metrics",
            str(metrics),
            "-rsxX",
            "-q",
        ]
        command += ["--hardware-map", str(hardware_map)] if hardware_map else []
        command += ["--hil-deploy"] if deploy else []
        status = subprocess.run(command, stdout=2, stdin=subprocess.DEVNULL).returncode  # standard error
        if status not in (0, 1) or not summary.exists():
            raise HilError("the tests did not run: see pytest's message above")
        result: dict[str, Any] = json.loads(summary.read_text())
    rows = [r for r in read_metrics(metrics)[len(before) :]]
    last = {(r["body"], r["metric"]): r["median"] for r in before}
    result["metrics"] = [r | {"last": last.get((r["body"], r["metric"]))} for r in rows]
    return result


def verdict(bodies: dict[str, dict[str, int]]) -> str:
    """Why this run is no pass, or an empty string: a body on which nothing passed is not one that passed."""
    if not bodies:
        return "no board was tested: name bodies with --body or --hardware-map"
    for name, counts in bodies.items():
        if counts["failed"]:
            return (
                f"{name}: {counts['failed']} tests failed; the reasons are above (if the board went away: plug it in "
                "again, run the same command)"
            )
        if not counts["passed"] and not counts["quarantined"]:
            return f"{name}: every test was skipped; the reasons are above"
    return ""


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSONL file; [] when there is none."""
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    except ValueError:
        raise HilError(
            f"{path} is not a file of metrics: move it away or name another with --metrics"
        ) from None


def change(now: float, then: float | None) -> str:
    """`+1.2 %`, or a dash where there is nothing to compare with."""
    return f"{100 * (now - then) / then:+.1f} %" if then else "-"


def plot(rows: list[dict[str, Any]], out: Path) -> None:
    """Bars: each metric over its last run and over what is published, where there is either."""
    try:
        import matplotlib
    except ImportError:
        raise HilError("--plot needs matplotlib: pip install matplotlib") from None
    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    shown = [r for r in rows if r["last"] or r["model"]]
    if not shown:
        raise HilError("nothing to plot yet: the first run has no last one to compare with")
    figure = Figure(figsize=(8, 1 + 0.3 * len(shown)), layout="constrained")
    axes = figure.subplots()
    names = [f"{r['body']}: {r['metric']}" for r in shown]
    for offset, key, label in ((-0.2, "last", "last run"), (0.2, "model", "published")):
        values = [100 * r["median"] / r[key] - 100 if r[key] else 0 for r in shown]
        axes.barh([i + offset for i in range(len(shown))], values, 0.38, label=f"against {label}")
    axes.set_yticks(range(len(shown)), names)
    axes.set_xlabel("change, %")
    axes.legend()
    figure.savefig(out)
