"""`sim measure` and `sim knee` on this machine, and `sim capacity` from them: the prediction is near what happens."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from blindsight.app.cli import build


def sim(*args: str) -> dict[str, Any]:
    got = CliRunner().invoke(build(), ["sim", *args, "--json"])
    assert got.exit_code == 0, got.output
    return json.loads(got.stdout)  # type: ignore[no-any-return]


@pytest.mark.timeout(550)
def test_a_measured_picture_foretells_the_knee(tmp_path: Path) -> None:
    costs, page = tmp_path / "costs.json", tmp_path / "knee.html"
    one = sim("measure", "--pictures", "8", "--out", str(costs))
    assert json.loads(costs.read_text()) == one
    assert one["pictures"] == 8 and one["commit"] and one["machine"]
    for server in ("cloud", "helper"):
        assert one["cpu_s"][server] > 0.001 and one["material_bytes"][server] > 10_000
    assert one["broker"]["messages_core_s"] > one["broker"]["messages_s"] * 0.5 > 10
    assert one["link"]["online_bytes"] > 50_000

    knee = sim("knee", "--rate", "0.5", "--rate", "30", "--seconds", "5", "--html", str(page))
    slow, fast = knee["steps"]
    assert slow["kept_up"] and fast["answered_per_s"] < 30 and "<svg" in page.read_text()
    assert fast["pair_busy"] > 0.7  # the pair works without a pause: it is what is full

    planned = sim("capacity", "--costs", str(costs), "--devices", "1000", "--per-day", "864", "--peak", "1")
    assert planned["busy_hour_per_s"] == 10 and planned["worker_load"] <= 0.7
    # The machine may be busier in one half than in the other: near means within a factor of three.
    alone = 1 / (one["service_s"]["p50"] + one["material_s"]["p50"])
    assert alone / 3 < knee["most_answered_per_s"] < alone * 3
