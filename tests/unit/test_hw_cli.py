"""`blindsight hw`: one JSON object or one line of error, for what needs no board."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from blindsight.app import cli
from blindsight.hw.update import read_package


def run(*words: str) -> Any:
    """The result of one command, in this process."""
    return CliRunner().invoke(cli.build(), ["hw", *words])


def one(*words: str) -> dict[str, Any]:
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    (line,) = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_list() -> None:
    assert len(one("list")["boards"]) == 12
    (board,) = one("list", "esp32-s3-sense")["boards"]
    assert board["quantities"]["power.light_sleep"] == {
        "value": 240, "unit": "uA", "kind": "datasheet", "conditions": "3.3 V, 25 C", "low": None, "high": None,
        "via": "transcription", "source": board["quantities"]["power.light_sleep"]["source"],
    }  # fmt: skip
    assert "Espressif" in board["quantities"]["power.light_sleep"]["source"]


def test_sign(tmp_path: Path) -> None:
    secret, public, out = tmp_path / "k", tmp_path / "k.pub", tmp_path / "p.bsu"
    assert run("update-key", str(secret), str(public)).exit_code == 0
    got = one("sign", str(out), "--key", str(secret), "--counter", "3", "--board", "esp32-c3")
    assert got["arch"] == "rv32imc" and got["bytes"] == out.stat().st_size
    package = read_package(out, public.read_bytes())
    assert package.manifest["counter"] == 3 and "bsmain.mpy" in package.files


def test_energy(tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text("Timestamp(ms),Current(uA)\n0,1000\n1000,1000\n")
    assert one("energy", str(trace), "--volts", "3")["joules"] == pytest.approx(0.003)


def test_doctor_always_says_something() -> None:
    got = one("doctor")
    assert set(got) >= {"ok", "ports", "tools", "advice"} and (got["ok"] or got["advice"])


BARE = "import sys; sys.modules['serial'] = None; from blindsight.app.cli import main; main()"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("list", "--json"), ""),
        (("doctor",), "blindsight: pyserial is not installed: pip install 'blindsight[boards]'\n"),
        (
            ("monitor", "/dev/null"),
            "blindsight: pyserial is not installed: pip install 'blindsight[boards]'\n",
        ),
    ],
)
def test_without_the_extra_for_boards(words: tuple[str, ...], message: str) -> None:
    """A plain `pip install blindsight`: what needs no serial line works, the rest says what to install."""
    done = subprocess.run([sys.executable, "-c", BARE, "hw", *words], capture_output=True, text=True)
    assert done.stderr == message and done.returncode == (1 if message else 0)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["list", "toaster"], "known: esp32"),
        (["deploy", "/dev/no-such-port"], "plug the board in"),
        (["monitor", "/dev/no-such-port"], "plug the board in"),
        (["provision", "/dev/x", "--from", "."], "keys device"),
        (["provision", "/dev/x", "--from", ".", "--wifi", "net"], "--wifi-password-file"),
        (["provision", "/dev/x", "--from", ".", "--camera", "QVGA"], "JSON object"),
        (["hil", "--body", "", "--metrics", "none.jsonl"], "no board was tested"),
    ],
)
def test_errors_name_the_fix(words: list[str], hint: str) -> None:
    done = run(*words)
    assert done.exit_code != 0 and done.exception is not None
    assert cli.is_users(done.exception) and hint in str(done.exception)


def test_the_network_password_is_kept_from_others(tmp_path: Path) -> None:
    file = tmp_path / "wifi.txt"
    words = [
        "provision",
        "/dev/x",
        "--from",
        str(tmp_path),
        "--wifi",
        "net",
        "--wifi-password-file",
        str(file),
    ]
    for text, mode, hint in (
        (b"secret\n", 0o644, "chmod 600"),
        (b"\xff\n", 0o600, "UTF-8"),
        (b"secret\n", 0o600, "keys device"),
        (b"", 0o644, "keys device"),  # an open network's
    ):
        file.write_bytes(text)
        file.chmod(mode)
        done = run(*words)
        assert done.exit_code != 0 and done.exception is not None
        assert hint in str(done.exception) and "secret" not in str(done.exception)
