"""The whole way of a board, over a pseudo-terminal with the real mpremote: deploy, provision, self-test, publish, result.

The commands are those printed for real boards. The servers are the tests' stand-in, which checks every byte.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
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
from blindsight.hw.selftest import selftest

BLINDSIGHT = str(Path(sys.executable).with_name("blindsight"))


class Bench:
    """A provisioned directory, servers, a broker, and the flash of a board that may be plugged in again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.provision = lab.Provision(path / "device")
        self.frames = self.provision.set_frames(1)
        self.servers = lab.Servers(self.provision)
        self.broker = lab.Broker(self.servers.receive)
        self.provision.config["broker"]["port"] = self.broker.port
        self.provision.write()
        self.inventory = Inventory(path / "inventory.json")

    def plug_in(self, fuse: int | None = None) -> EmulatedBoard:
        return EmulatedBoard(self.path / "flash", fuse=fuse)

    def state(self) -> str | None:
        return self.inventory.rows().get("cam-1", {}).get("state")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    b = Bench(tmp_path)
    yield b
    b.broker.close()


def hw(*words: str) -> str:
    done = subprocess.run([BLINDSIGHT, "hw", *words], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_from_an_empty_board_to_the_first_answer(bench: Bench) -> None:
    """With the command line, as docs/boards.md has it."""
    with bench.plug_in() as board:
        first = json.loads(hw("deploy", board.port, "--json"))
        assert first["sent"] > 25 and first["slot"] == "a"
        where = ["--from", str(bench.provision.path), "--inventory", str(bench.inventory.path)]
        dry = json.loads(hw("provision", board.port, *where, "--dry-run", "--json"))
        assert "secret.bin" in dry["changed"] and not bench.inventory.path.exists()
        assert not (bench.path / "flash" / "bs").exists()
        assert "wrote" in hw("provision", board.port, *where)
        assert "nothing to change" in hw("provision", board.port, *where)
        assert bench.state() == "ready"
        text = bench.inventory.path.read_text()
        assert bench.provision.secret.hex() not in text
        found = json.loads(hw("selftest", board.port, "--json"))
        assert found["passed"] and found["provisioned"] and found["cores"]["rlwe"] == "viper"
        seen = [
            json.loads(line)
            for line in hw("monitor", board.port, "--until", "done", "--seconds", "60").splitlines()
        ]
    (result,) = (e for e in seen if e["event"] == "result")
    assert result["index"] == lab.label_of(bench.frames[0])
    assert bench.servers.pixels[result["image"]] == bench.frames[0]


def test_a_running_application_can_be_interrupted(bench: Bench) -> None:
    """A board that runs for ever (no picture limit, broker away) still takes commands."""
    bench.provision.config["count"] = 0
    bench.provision.config["broker"]["port"] = 1  # nobody listens
    bench.provision.write()
    with bench.plug_in() as board:
        link = Link(board.port)
        deploy(link)
        provision(link, bench.provision.path, bench.inventory)
        with contextlib.closing(events(board.port, seconds=60)) as stream:
            assert any(isinstance(e, dict) and e["event"] == "offline" for e in stream)  # up to the first
        assert link.inspect()["platform"] == "linux"


# bytes sent to the board before the plug is pulled: at once, in the copying, near the end
FUSES = [0, 2500, 30000]


def test_pulled_while_deploying(bench: Bench) -> None:
    """At every point the board answers, and the same command finishes; a version in use is never mixed."""
    outcomes = []
    for fuse in FUSES:
        with bench.plug_in(fuse) as board:
            try:
                deploy(Link(board.port, 60))
                outcomes.append("whole")
            except LinkError as error:
                assert "run the same command" in str(error), error
                outcomes.append("cut")
        with bench.plug_in() as board:
            app = bench.path / "flash" / "app.json"
            if app.exists():
                assert selftest(Link(board.port))["passed"]
    assert outcomes[0] == "cut" and "cut" in outcomes[1:]
    with bench.plug_in() as board:
        deploy(Link(board.port))
        assert selftest(Link(board.port))["passed"]


def test_pulled_while_provisioning(bench: Bench) -> None:
    """The identity on the board is the old one, the new one or none; the row says so; again mends it."""
    with bench.plug_in() as board:
        deploy(Link(board.port))
    folder = bench.provision.path
    cut = 0
    for fuse in (500, 5000, 9000, 14000, 20000):
        config = bench.path / "flash" / "bs" / "config.json"
        with bench.plug_in(fuse) as board:
            try:
                provision(Link(board.port, 60), folder, bench.inventory)
            except LinkError as error:
                assert "run the same command" in str(error)
                cut += 1
                assert bench.state() in (None, "writing")
        if config.exists():
            assert json.loads(config.read_text()) == bench.provision.config
            for name in ("secret.bin", "pk.bin"):
                assert (config.parent / name).read_bytes() == (folder / name).read_bytes()
    assert cut >= 2
    with bench.plug_in() as board:
        provision(Link(board.port), folder, bench.inventory)
        assert bench.state() == "ready"
        with pytest.raises(ProvisionError, match="this board is cam-1"):
            other = lab.Provision(bench.path / "other", device="cam-2")
            provision(Link(board.port), other.path, bench.inventory)


def test_pulled_while_self_testing_or_watched(bench: Bench) -> None:
    with bench.plug_in() as board:
        deploy(Link(board.port))
        with pytest.raises(LinkError, match="went away"):
            for _ in events(board.port, seconds=30):
                board.unplug()
        with pytest.raises(LinkError, match="no such port"):
            selftest(Link(board.port))
    with bench.plug_in(fuse=2500) as board, pytest.raises(LinkError, match="plug it in again"):
        selftest(Link(board.port, 60))
    with bench.plug_in() as board:
        assert selftest(Link(board.port))["passed"]
