"""The fault suite in short; in full with `python tests/faults/run.py --runs 200`."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import run


def check(report: dict, runs: int) -> None:  # type: ignore[type-arg]
    assert report["injected"] == 2 * runs and report["pictures"] >= 6 * runs
    assert report["answered"] + report["failed"] == report["pictures"]
    assert report["lost"] == report["duplicated"] == report["wrong"] == report["material_reused"] == 0
    assert report["plaintext_found"] == 0


def test_six_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(run.suite(6, seed=3, folder=tmp_path, say=print), 6)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_many_faults(tmp_path: Path) -> None:
    runs = int(os.environ.get("RUNS", "100"))
    check(run.suite(runs, seed=4, folder=tmp_path, say=print), runs)
