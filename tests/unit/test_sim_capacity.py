"""Capacity: Erlang's formula against its definition and a small simulation, sizes against arithmetic."""

import heapq
import json
import math
import random
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from blindsight.app.cli import build
from blindsight.simulator.capacity import (
    Fleet,
    Servers,
    capacity,
    erlang_c,
    late_share,
    measured,
    workers_needed,
)
from blindsight.simulator.cost import CostError
from blindsight.simulator.cost.data import DATA
from blindsight.simulator.report.svg import ticks


def test_erlang_c_is_its_definition() -> None:
    for c, a in ((1, 0.5), (3, 2.1), (10, 8.0)):
        top = a**c / math.factorial(c) * c / (c - a)
        assert erlang_c(c, a) == pytest.approx(top / (sum(a**k / math.factorial(k) for k in range(c)) + top))
    assert erlang_c(1, 0.5) == pytest.approx(0.5)  # M/M/1 waits with its load


def test_workers_are_the_fewest() -> None:
    for load in (0.01, 0.9, 7.3, 250.0):
        c = workers_needed(load, 0.2, 0.5, 0.05)
        assert late_share(c, load, 0.2, 0.5) <= 0.05 < late_share(c - 1, load, 0.2, 0.5)


def test_the_formula_bounds_a_simulated_queue_of_constant_service() -> None:
    draw, c, service, load = random.Random(9), 4, 0.2, 3.2
    free, now, late, n = [0.0] * c, 0.0, 0, 20000
    for _ in range(n):
        now += draw.expovariate(load / service)
        start = max(now, heapq.heappop(free))
        heapq.heappush(free, start + service)
        late += start - now > 0.2
    bound = late_share(c, load, service, 0.2)
    assert 0.1 * bound < late / n <= bound


COSTS = Servers(0.1, 0.5, 0.12, 0.05, 0.08, 1e5, 2e5, 3e5, 20000.0, 2.0, 80.0, "here")


def test_numbers_of_a_fleet_by_hand() -> None:
    fleet = Fleet(86400, 1, peak=1.0, tls=False)
    got = capacity(fleet, COSTS)
    assert got["mean_per_s"] == got["busy_hour_per_s"] == 1
    assert got["online_cores"] == got["offline_cores"] == 1 and got["material_gb_a_day"] == pytest.approx(
        25.92
    )
    assert got["material_reserve_gb"] == 0 and got["broker_nodes"] == 1
    assert got["broker_messages_s"] == 8  # one block, manifest, receipt, result; in and out
    assert got["worker_load"] < 1 and got["late_share"] <= 0.05
    assert got == capacity(fleet, COSTS)
    busy = capacity(replace(fleet, devices=8640000, peak=2.0), COSTS)
    assert busy["online_cores"] == math.ceil(200 * 0.12 / 0.7) and busy["offline_cores"] == math.ceil(
        100 * 0.08 / 0.7
    )
    assert busy["broker_nodes"] == 87  # by connections; by messages 1 would do
    assert busy["broker_ram_gb"] == pytest.approx(17.28) and busy["worker_ram_gb"] == pytest.approx(
        0.16 * busy["worker_pairs"]
    )


def test_the_mean_wait_is_exact_for_one_worker() -> None:
    """Pollaczek and Khinchine's formula, M/G/1: a s (1 + v) / (2 (1 - a))."""
    got = capacity(Fleet(86400, 1, peak=3.0, wait_s=1e6), COSTS)
    assert got["worker_pairs"] == 1
    a = 3.0 * 0.1
    assert got["mean_wait_s"] == pytest.approx(a * 0.1 * 1.5 / (2 * (1 - a)), rel=1e-3)


def test_costs_are_read_and_refused(tmp_path: Path) -> None:
    table = json.loads((DATA / "servers.json").read_text())
    for model, row in table.items():
        found, shape = measured(model)
        assert found.pair_per_s == pytest.approx(1 / (row["service_s"]["p50"] + row["material_s"]["p50"]))
        assert list(shape) == row["shape"] and not found.assumed
        path = tmp_path / "mine.json"
        path.write_text(json.dumps(row))
        assert measured(model, path)[0] == replace(found, counts_from=measured(model, path)[0].counts_from)
    infer = {"online_s": 0.07, "offline_s": 0.1, "online_bytes": 1e5, "offline_bytes": 1e5}
    assert Servers.read(infer, "x").assumed
    for bad in ("{}", "[]", "nonsense", json.dumps({**infer, "online_s": None})):
        path.write_text(bad)
        with pytest.raises(CostError) as error:
            measured("mnist", path)
        assert "\n" not in str(error.value)


def test_the_prediction_is_the_measured_knee() -> None:
    """What `sim measure` says of a picture by itself, against what `sim knee` found under load, on the same machine."""
    table, knee = (
        json.loads((DATA / "servers.json").read_text()),
        json.loads((DATA / "knee.json").read_text()),
    )
    assert knee["found"] and knee["model"] in table
    predicted = Servers.read(table[knee["model"]], "").pair_per_s * knee["workers"]
    assert predicted == pytest.approx(knee["most_answered_per_s"], rel=0.35)
    assert max(s["pair_busy"] for s in knee["steps"]) > 0.85  # the pair is what is full, not the broker
    assert max(s["cores"]["broker"] for s in knee["steps"]) < 0.2


def test_more_devices_never_need_less() -> None:
    costs, _ = measured("mnist")
    rows = [capacity(Fleet(10**e, 40), costs) for e in range(3, 8)]
    for key in ("worker_pairs", "offline_cores", "material_gb_a_day", "broker_nodes", "link_gbit_s"):
        assert [r[key] for r in rows] == sorted(r[key] for r in rows)
    assert rows[-1]["broker_nodes"] >= 100


@pytest.mark.parametrize(
    "bad", [{"devices": 0}, {"devices": 10**8}, {"per_day": 1e6}, {"peak": 0.5}, {"late": 0}]
)
def test_nonsense_is_refused(bad: dict) -> None:  # type: ignore[type-arg]
    with pytest.raises(CostError):
        capacity(Fleet(**({"devices": 10, "per_day": 40} | bad)), COSTS)


def test_the_commands_print_one_object_and_write_pages(tmp_path) -> None:  # type: ignore[no-untyped-def]
    page, table = tmp_path / "p.html", tmp_path / "t.csv"
    for args in (
        ["capacity", "--devices", "5000", "--html", str(page), "--csv", str(tmp_path / "c.csv")],
        ["capacity", "parking"],
        ["cost", "doorbell", "--html", str(page), "--csv", str(table)],
        ["validate"],
    ):
        got = CliRunner().invoke(build(), ["sim", *args, "--json"])
        assert got.exit_code == 0, got.output
        assert got.stdout.count("\n") == 1
        assert isinstance(json.loads(got.stdout), dict)
        shown = CliRunner().invoke(build(), ["sim", *args])
        assert shown.exit_code == 0 and len(shown.stdout) > 200
    text = page.read_text()
    for drawing in re.findall(r"<svg.*?</svg>", text, re.S):
        root = ElementTree.fromstring(drawing)  # well-formed, and nothing is drawn outside
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for item in root.iter():
            assert 0 <= float(item.get("x", 0)) <= width and 0 <= float(item.get("y", 0)) <= height
    assert (
        "<svg" in text
        and "<script" not in text
        and "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    )
    assert "https://" not in text and table.read_text().startswith("board,mode,stage")
    assert "total" in table.read_text()


@pytest.mark.parametrize("top", [0.003, 0.7, 1, 1.01, 2.05, 24, 147, 736, 86400, 3e9])
def test_ticks_are_few_round_and_within(top: float) -> None:
    got = ticks(top)
    assert got[0] == 0 and 2 <= len(got) <= 7 and got[-1] <= top * (1 + 1e-9)
    assert f"{got[1]:e}"[:3] in ("1.0", "2.0", "5.0")
