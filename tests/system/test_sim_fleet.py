"""Fleets against the real broker and servers: nothing lost, nothing answered twice, whatever the network does."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from blindsight.app.cli import build
from blindsight.simulator.fleet import timetable

FAULTS = """
title = "everything at once"
boards = ["esp32-c3"]
[fleet]
seconds = 24
seed = 5
timeout_s = 240
latency_s = 0.05
outage = [{ at = 4, for = 3 }, { at = 15, for = 3, part = 0.5, group = "doorbells" }]
broker_restart = [{ at = 10, down = 1.5 }]

[[fleet.group]]
name = "doorbells"
board = "esp32-s3-sense"
devices = 14
firmware = 1
sleep = "connected"
duty = "aligned"
each = 1
clock_skew_s = 12
clock_drift_ppm = 500
cut = 0.2

[[fleet.group]]
name = "forest"
devices = 8
ingest = "aes"
each = 2
loss = 0.2
bandwidth_kbit_s = 64

[[fleet.group]]
name = "old-cells"
devices = 8
ingest = "rlwe-sk"
each = 2
battery_mah = 10
charge = [0.0, 0.02]
"""


def run(*args: str) -> dict[str, Any]:
    got = CliRunner().invoke(build(), ["sim", "fleet", *args, "--json"])
    assert got.exit_code == 0, got.output
    return json.loads(got.stdout)  # type: ignore[no-any-return]


def check(report: dict[str, Any]) -> None:
    """Everything taken was accepted and answered, once, with the float network's label."""
    assert report["pictures"] == report["answered"] == report["accepted"] == report["agree"] > 0
    assert report["lost"] == report["twice"] == report["server"]["twice"] == 0 and report["failures"] == []
    real = report["firmware"]
    assert real["pictures"] == real["answered"] == real["agree"]
    assert report["server"]["answered"] == report["pictures"] + real["pictures"]
    assert report["timeline"][-1] == {
        "t": report["seconds"],
        "backlog": 0,
        "answered": report["pictures"],
    }


def test_everything_at_once(tmp_path: Path) -> None:
    """Three ingest modes, outages, a broker restart, loss, narrow lines, wrong clocks, empty cells, the real firmware."""
    path, rows = tmp_path / "s.toml", tmp_path / "rows.csv"
    path.write_text(FAULTS)
    report = run(str(path), "--csv", str(rows))
    check(report)
    assert report["broker"] == "mosquitto" and report["broker_restarts"] == 1 and report["outages"] == 2
    assert report["firmware"]["answered"] == 1
    model = report["model_outputs"]
    doorbells, forest, cells = model["groups"]
    assert doorbells["cut"] > 0 and 0 < doorbells["clock_off_s"] <= 12
    assert forest["late_by_network_s"] > 0.1 and cells["deaths"] > 0
    assert report["unfinished"] == cells["unfinished"] == cells["deaths"]
    # Every connection was cut off at 4 s and by the restart: the doorbells came back each time.
    assert report["connections"] >= report["pictures"] - 14 + 3 * 14
    planned = CliRunner().invoke(build(), ["sim", "fleet", str(path), "--plan", "--json"])
    assert json.loads(planned.stdout) == model
    with rows.open() as f:
        lines = list(csv.DictReader(f))
    assert len(lines) == report["pictures"] + report["unfinished"]
    for row in lines:
        assert (row["answered_s"] == "") == (row["unfinished"] == "1")


@pytest.mark.parametrize(
    "table", ["devices = 10000\neach = 1000", "devices = 1\neach = 0\nhours = 8760\nper_day = 86400"]
)
def test_too_many_pictures_are_refused_before_they_are_drawn(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timetable, "_device", None)
    path = tmp_path / "s.toml"
    path.write_text(f'boards = ["esp32-c3"]\n[fleet]\n{table}\n')
    got = CliRunner().invoke(build(), ["sim", "fleet", str(path), "--plan", "--json"])
    assert got.exit_code != 0 and "more than 100,000 pictures" in str(got.exception)


def flat(report: dict[str, Any], most: float) -> None:
    """After the warm-up no process grows by more than `most` MB, by its slope over the run and by what it held at the end."""
    minutes = report["seconds"] / 60
    for name in ("cloud", "helper", "broker"):
        row = report["rss_mb"][name]
        assert row["mb_per_minute"] * minutes < most, (name, row)
        assert row["end"] - row["warm"] < most, (name, row)


@pytest.mark.timeout(800)
def test_a_thousand_devices_for_a_minute() -> None:
    """All connected all the time, some 80 pictures: gentle enough for two cores with other work."""
    report = run("thousand-minute")
    assert report["devices"] == 1000 and report["connections"] >= 1000
    assert 50 < report["pictures"] < 120
    check(report)
    flat(report, 16)
    assert all(report["latency_s"][q] > 0 for q in ("p50", "p95", "p99"))


@pytest.mark.long
@pytest.mark.timeout(2000)
def test_a_thousand_devices_for_ten_minutes() -> None:
    report = run("thousand")
    assert report["devices"] == 1000 and report["pictures"] == 1000 and report["firmware"]["answered"] == 8
    check(report)
    flat(report, 12)
