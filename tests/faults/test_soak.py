"""The soak and the measurement of scale in short; in full with `make soak` (an hour) and `make scale`."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import scale
import soak


def check(report: dict) -> None:  # type: ignore[type-arg]
    assert soak.broken(report) == [] and report["flat"], report
    assert report["pictures"] > 10


def test_a_minute_stays_flat(tmp_path: Path) -> None:
    check(soak.soak(0.75, tmp_path, print))


def test_two_pairs_and_two_orders_give_the_same_answers(tmp_path: Path) -> None:
    report = scale.scale(12, tmp_path, print)
    assert scale.broken(report) == [], report
    one, two = report["runs"]
    assert sum(one["answered_by_pair"]) == sum(two["answered_by_pair"]) == 24
    assert all(two["answered_by_pair"]) and all(two["accepted_by_ingress"])  # both had a part in it


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_an_hour_stays_flat(tmp_path: Path) -> None:
    check(soak.soak(float(os.environ.get("MINUTES", "60")), tmp_path, print))
