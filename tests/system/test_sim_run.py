"""`blindsight sim run`: the real firmware and servers, and the model's bytes held against the firmware's."""

import json

from typer.testing import CliRunner

from blindsight.app.cli import build


def test_a_scenario_with_the_real_firmware(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path, page = tmp_path / "s.toml", tmp_path / "page.html"
    path.write_text(
        'title = "one"\nboards = ["esp32-c3", "pico-w"]\nbattery_mah = 2000\n'
        '[run]\nmodel = "mnist"\npictures = 2\ningest = "rlwe-sk"\n'
    )
    got = CliRunner().invoke(build(), ["sim", "run", str(path), "--json", "--html", str(page)])
    assert got.exit_code == 0, got.output
    report = json.loads(got.stdout)
    measured = report["measured"]
    assert measured["answered"] == measured["agree"] == 2
    assert measured["payload_bytes"] == measured["payload_bytes_model"]  # the firmware counted the first
    assert [c["board"] for c in report["costs"]] == ["esp32-c3", "pico-w"]
    for c in report["costs"]:
        assert (
            c["shape"] == [28, 28, 1]
            and c["bytes"]["up"]["payload"]["mid"] == c["bytes"]["up"]["payload"]["low"]
        )
        answer = next(s for s in c["stages"] if s["name"] == "answer")
        assert answer["seconds"]["low"] <= measured["server_s"]["median"] <= answer["seconds"]["high"]
    assert "real firmware" in page.read_text()
