"""The simulator's pages in a browser: nothing fetched, nothing broken, every plot drawn within its frame, readable on a phone."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from blindsight.app.cli import build
from blindsight.hw import profiles
from blindsight.simulator import report
from blindsight.simulator.cost import Workload, cost

sys.path.insert(0, str(Path(__file__).parents[1]))
from chromium import Chromium, Page

RESULTS = Path(__file__).parents[2] / "bench" / "results"

# What is drawn outside its own frame, and how far the page is wider than its window.
OUTSIDE = """[...document.querySelectorAll('svg')].flatMap(svg => {
  const f = svg.getBoundingClientRect()
  return [...svg.querySelectorAll('text, rect, path, line, circle')].filter(e => {
    const r = e.getBoundingClientRect()
    return r.left < f.left - 1 || r.right > f.right + 1 || r.top < f.top - 1 || r.bottom > f.bottom + 1
  }).map(e => svg.getAttribute('aria-label') + ': ' + (e.textContent || e.tagName))
})"""
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
EMPTY = "[...document.querySelectorAll('path')].filter(p => /NaN|Infinity/.test(p.getAttribute('d'))).length"
LABELS = "[...document.querySelectorAll('svg')].map(s => s.getAttribute('aria-label'))"


def sim(*args: str) -> None:
    got = CliRunner().invoke(build(), ["sim", *args])
    assert got.exit_code == 0, got.output


def look(page: Page, shot: Path) -> list[str]:
    """The labels of its plots, all checks made at both sizes."""
    for width, height in ((1280, 900), (400, 800)):
        page.resize(width, height)
        assert page.evaluate(OUTSIDE) == []
        assert page.evaluate(WIDER) <= 0
    assert page.evaluate(EMPTY) == 0
    assert page.problems == [] and len([u for u in page.requests if not u.startswith("data:")]) == 1
    assert page.screenshot(shot).stat().st_size > 10_000
    labels: list[str] = page.evaluate(LABELS)
    assert all(labels)
    return labels


@pytest.fixture(scope="module")
def fleet() -> dict[str, Any]:
    """The last ten minutes of a thousand devices, as recorded."""
    got: dict[str, Any] = json.loads((RESULTS / "fleet-1000.json").read_text())
    return got


def test_every_page(tmp_path: Path, fleet: dict[str, Any]) -> None:
    costs, parking, capacity, ran, knee = (
        tmp_path / f"{n}.html" for n in ("costs", "parking", "cap", "fleet", "knee")
    )
    errors = tmp_path / "validate.html"
    sim("validate", "--html", str(errors), "--csv", str(tmp_path / "v.csv"))
    assert (tmp_path / "v.csv").read_text().startswith("what,")
    sim("cost", "wildlife", "--board", "all", "--html", str(costs))
    sim("cost", "parking", "--html", str(parking))
    sim("capacity", "doorbell", "--html", str(capacity))
    board = cost(profiles.HERE, "esp32-s3-sense", Workload(per_day=144, sleep="connected", battery_mah=5000))
    ran.write_text(report.fleet_page("A thousand", fleet, [board]))
    data = json.loads((Path(report.__file__).parents[1] / "data" / "knee.json").read_text())
    knee.write_text(report.knee_page(data))
    with Chromium() as browser:
        labels = look(browser.open(costs), tmp_path / "costs.png")
        for wanted in (
            "seconds by stage",
            "energy by stage",
            "bytes by layer",
            "battery days",
            "awake seconds and their bounds",
        ):
            assert wanted in labels
        assert any(label.startswith("energy used over a day") for label in labels)
        page = browser.open(parking)
        look(page, tmp_path / "parking.png")
        assert "86,400 pictures, evenly" in page.text()
        page = browser.open(capacity)
        look(page, tmp_path / "cap.png")
        assert "worker pairs" in page.text() and "10,000,000" in page.text()
        page = browser.open(ran)
        labels = look(page, tmp_path / "fleet.png")
        for wanted in (
            "backlog",
            "throughput",
            "latency percentiles",
            "resident memory of cloud",
            "seconds by stage",
        ):
            assert wanted in labels
        assert any(label.startswith("pictures of the first device") for label in labels)
        assert any(label.startswith("charge of the first device") for label in labels)
        assert {"backlog", "throughput", "latency"} & set(look(browser.open(knee), tmp_path / "knee.png"))
        page = browser.open(errors)
        look(page, tmp_path / "validate.png")
        assert "ML-KEM-768" in page.text()
