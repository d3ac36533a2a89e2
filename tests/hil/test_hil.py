"""The plugin: a table of bodies, and nothing that was not tested counts as passed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from blindsight.hw.hil import run as hil
from blindsight.hw.hil.bodies import BodyError, choose, read_map

TEST = """
from blindsight.hw.hil import needs, quarantine

def test_right(dut):
    assert dut.wrong_answers() == []
    dut.record("x", [3.0, 1.0, 2.0], "ms", 4.0)

@needs("camera")
def test_camera(dut):
    raise AssertionError("ran on a body without a camera")

@quarantine("known to be flaky")
def test_flaky(dut):
    raise AssertionError("flaky")

@quarantine("elsewhere", "desk-s3")
def test_only_quarantined_elsewhere(dut):
    pass
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "test_it.py"
    path.write_text(TEST)
    return path


def test_the_suite_on_three_bodies(tmp_path: Path) -> None:
    """The command of the documentation; the second run compares with the first."""
    metrics = tmp_path / "hil.jsonl"
    command = [
        str(Path(sys.executable).with_name("blindsight")),
        "hw",
        "hil",
        "--body",
        "unix,qemu-m4,qemu-rv32",
    ]
    done = subprocess.run(
        [*command, "--metrics", str(metrics), "--json"], capture_output=True, text=True, timeout=400
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    got = json.loads(line)
    assert set(got["bodies"]) == {"unix", "qemu-m4", "qemu-rv32"}
    for counts in got["bodies"].values():
        assert counts["failed"] == 0 and counts["passed"] >= 4
    rows = [json.loads(row) for row in metrics.read_text().splitlines()]
    assert {r["body"] for r in rows} == set(got["bodies"])
    for row in rows:
        assert set(row) >= {
            "run",
            "board",
            "firmware_sha256",
            "mhz",
            "heap",
            "metric",
            "unit",
            "median",
            "spread",
            "model",
        }
    assert all(r["last"] is None for r in got["metrics"])
    counts_only = [r for r in rows if r["metric"].endswith("instructions")]
    assert len(counts_only) == 6 and all(r["median"] <= 1.02 * r["model"] for r in counts_only)


def test_skips_quarantines_and_compares(suite: Path, tmp_path: Path) -> None:
    metrics = tmp_path / "m.jsonl"
    metrics.write_text(json.dumps({"body": "qemu-m4", "metric": "x", "median": 4.0}) + "\n")
    got = hil.run("qemu-m4", None, metrics, tests=suite)
    assert got["bodies"] == {"qemu-m4": {"passed": 2, "failed": 0, "skipped": 1, "quarantined": 1}}
    (row,) = got["metrics"]
    assert (row["median"], row["spread"], row["n"], row["last"], row["model"]) == (2.0, 2.0, 3, 4.0, 4.0)
    assert hil.change(row["median"], row["last"]) == "-50.0 %"
    assert hil.verdict(got["bodies"]) == ""


def test_the_plot_needs_something_to_compare_with(tmp_path: Path) -> None:
    row = {"body": "qemu-m4", "metric": "x", "median": 2.0, "last": 4.0, "model": None}
    hil.plot([row], tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(hil.HilError, match="nothing to plot"):
        hil.plot([row | {"last": None}], tmp_path / "q.png")


def test_measure_and_list_print_one_object() -> None:
    blindsight = str(Path(sys.executable).with_name("blindsight"))
    for words in (["list"], ["measure", "--target", "rv32imc"]):
        done = subprocess.run(
            [blindsight, "hw", *words, "--json"], capture_output=True, text=True, timeout=200
        )
        (line,) = done.stdout.splitlines()
        got = json.loads(line)
    assert got["target"] == "rv32imc" and got["modes"]["rlwe"]["pixels"] == 1024
    done = subprocess.run(
        [blindsight, "hw", "measure", "--target", "z80"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "rv32imc" in done.stderr


def test_a_board_that_is_not_there_fails(suite: Path, tmp_path: Path) -> None:
    got = hil.run("serial:/dev/no-such-port", None, tmp_path / "m.jsonl", tests=suite)
    counts = got["bodies"]["serial:/dev/no-such-port"]
    assert counts["passed"] == 0 and counts["failed"] >= 2
    assert "failed" in hil.verdict(got["bodies"])


def test_no_board_is_skipped_with_a_reason_and_is_no_pass(suite: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        str(hil.SUITE / "pytest.ini"),
        "-p",
        "blindsight.hw.hil",
        "-rs",
        str(suite),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "no board: name one with --body" in done.stdout and "4 skipped" in done.stdout
    got = hil.run("", None, tmp_path / "m.jsonl", tests=suite)
    assert got["bodies"] == {} and "no board was tested" in hil.verdict(got["bodies"])
    all_skipped: dict[str, dict[str, int]] = {"x": {"passed": 0, "failed": 0, "skipped": 3, "quarantined": 0}}
    assert "every test was skipped" in hil.verdict(all_skipped)


def test_an_unknown_body_is_refused(suite: Path, tmp_path: Path) -> None:
    with pytest.raises(hil.HilError):
        hil.run("toaster", None, tmp_path / "m.jsonl", tests=suite)
    with pytest.raises(BodyError, match="one of unix, qemu-m4"):
        choose("toaster", {})
    with pytest.raises(BodyError, match="twice"):
        choose("unix,unix", {})


def test_hardware_map(tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(
        'boards:\n - {id: desk-s3, body: "serial:/dev/ttyACM0", board: esp32-s3-sense, capabilities: [camera], quarantine: loose}\n'
        " - {id: emulated, body: qemu-m4}\n"
    )
    boards = read_map(path)
    assert (
        [s.name for s in choose("map", boards)]
        == ["desk-s3", "emulated"]
        == [s.name for s in choose("", boards)]
    )
    assert boards["desk-s3"].capabilities == {"camera"} and boards["desk-s3"].quarantine == "loose"
    bad: list[Any] = ["", "boards: 3", "boards:\n - {id: x}", "boards:\n - {id: x, body: toaster}", ": ["]
    for text in bad:
        path.write_text(text)
        with pytest.raises(BodyError):
            read_map(path)
