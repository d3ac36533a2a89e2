"""Capacity: Erlang's formula against its definition and a small simulation, sizes against arithmetic."""

import heapq
import json
import math
import random
import re
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


def test_numbers_of_a_fleet_by_hand() -> None:
    servers = Servers(0.1, 0.35, 1e5, 2e5, 3e5, "here")
    got = capacity(Fleet(86400, 1, peak=1.0), servers)
    assert got["mean_per_s"] == got["busy_hour_per_s"] == 1
    assert got["offline_cores"] == 1 and got["material_gb_a_day"] == pytest.approx(25.92)
    assert got["material_reserve_gb"] == 0 and got["broker_nodes"] == 1
    assert got["broker_messages_s"] == 8  # one block, manifest, receipt, result; in and out
    assert got["worker_load"] < 1 and got["late_share"] <= 0.05
    assert got == capacity(Fleet(86400, 1, peak=1.0), servers)


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
        capacity(Fleet(**({"devices": 10, "per_day": 40} | bad)), measured("mnist")[0])
    with pytest.raises(CostError, match="infer"):
        Servers.from_infer({"online_s": "x"}, "")


def test_the_commands_print_one_object_and_write_pages(tmp_path) -> None:  # type: ignore[no-untyped-def]
    page, table = tmp_path / "p.html", tmp_path / "t.csv"
    for args in (
        ["capacity", "--devices", "5000", "--html", str(page)],
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
