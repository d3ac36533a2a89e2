"""What a provisioned board does besides the way of docs/boards.md, which test_docs.py follows with the real services."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "system"))
import firmware_lab as lab

from blindsight.hw.deploy import deploy
from blindsight.hw.emulated import EmulatedBoard
from blindsight.hw.inventory import Inventory
from blindsight.hw.link import Link, LinkError
from blindsight.hw.monitor import events
from blindsight.hw.provision import ProvisionError, provision

BLINDSIGHT = str(Path(sys.executable).with_name("blindsight"))


@pytest.fixture
def device(tmp_path: Path) -> lab.Provision:
    """A device directory whose broker is not there."""
    made = lab.Provision(tmp_path / "device", count=0)
    made.set_frames(1)
    made.config["broker"] = {"host": "127.0.0.1", "port": 1}
    made.write()
    return made


def hw(*words: str) -> str:
    done = subprocess.run([BLINDSIGHT, "hw", *words], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_provisioning_twice_is_once(device: lab.Provision, tmp_path: Path) -> None:
    """Dry, then done, then nothing to do; no secret in the inventory; another identity is refused."""
    flash, rows = tmp_path / "flash", tmp_path / "inventory.json"
    with EmulatedBoard(flash) as board:
        where = ["--from", str(device.path), "--inventory", str(rows)]
        dry = json.loads(hw("provision", board.port, *where, "--dry-run", "--json"))
        assert "secret.bin" in dry["changed"] and not rows.exists() and not (flash / "bs").exists()
        assert "wrote" in hw("provision", board.port, *where)
        assert "nothing to change" in hw("provision", board.port, *where)
        assert json.loads(rows.read_text())["devices"]["cam-1"]["state"] == "ready"
        assert device.secret.hex() not in rows.read_text()
        other = lab.Provision(tmp_path / "other", device="cam-2")
        with pytest.raises(ProvisionError, match="this board is cam-1"):
            provision(Link(board.port), other.path, Inventory(rows))


def test_a_running_application_can_be_interrupted(device: lab.Provision, tmp_path: Path) -> None:
    """A board that runs for ever (no picture limit, broker away) still takes commands."""
    with EmulatedBoard(tmp_path / "flash") as board:
        link = Link(board.port)
        assert deploy(link).sent > 25
        provision(link, device.path, Inventory(tmp_path / "inventory.json"))
        with contextlib.closing(events(board.port, seconds=60)) as stream:
            assert any(isinstance(e, dict) and e["event"] == "offline" for e in stream)  # up to the first
        assert Link(board.port).inspect()["platform"] == "linux"


def test_what_does_not_answer_is_told_apart(tmp_path: Path) -> None:
    """No port, a board that is gone, a line that is mute."""
    with pytest.raises(LinkError, match="no such port"):
        Link("/dev/no-such-port").inspect()
    with EmulatedBoard(tmp_path / "flash") as board:
        link = Link(board.port)
        link.inspect()
        board.unplug()
        with pytest.raises(LinkError, match="run the same command"):
            link.inspect()
