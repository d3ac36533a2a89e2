"""A fleet against the real broker and servers: nothing lost, nothing answered twice, with connections cut."""

import json

import pytest
from typer.testing import CliRunner

from blindsight.app.cli import build


def run(*args: str) -> dict:  # type: ignore[type-arg]
    got = CliRunner().invoke(build(), ["sim", "fleet", *args, "--json"])
    assert got.exit_code == 0, got.output
    return json.loads(got.stdout)  # type: ignore[no-any-return]


def check(report: dict, pictures: int) -> None:  # type: ignore[type-arg]
    assert report["pictures"] == report["answered"] == report["accepted"] == report["agree"] == pictures
    assert report["lost"] == report["twice"] == 0 and report["failures"] == []
    real = report["firmware"]
    assert real["pictures"] == real["answered"] == real["agree"]
    assert report["timeline"][-1] == {"t": report["seconds"], "backlog": 0, "answered": pictures}


@pytest.mark.parametrize("ingest", ["rlwe", "aes"])
def test_a_small_fleet_with_cut_connections(ingest: str) -> None:
    report = run("--devices", "12", "--each", "2", "--seconds", "4", "--cut", "0.3", "--ingest", ingest)
    check(report, 24)
    assert report["cut"] > 0 and report["firmware"]["answered"] == 2


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_thousand_devices() -> None:
    report = run(
        "--devices", "1000", "--each", "1", "--seconds", "600", "--firmware", "4", "--timeout", "1200"
    )
    check(report, 1000)
    for server in report["rss_mb"].values():  # the start is before the first picture
        assert server["end"] < server["start"] + 100
