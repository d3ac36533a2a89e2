"""The plug is pulled in the middle of every command; early and late too in the long tests.

Each time: one line that says what to do next, a board that answers when it is plugged in again with its identity the old
one, the new one or (in provisioning) none, an inventory that reads, and the same command then succeeds.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "system"))
import firmware_lab as lab

from blindsight.app import cli
from blindsight.hw import update as updates
from blindsight.hw.deploy import build, root_files
from blindsight.hw.emulated_esp import EspBoard, stand_in_firmware
from blindsight.hw.flash import Partition

ROWS = [
    Partition("nvs", 1, 2, 0x9000, 0x6000), Partition("factory", 0, 0, 0x10000, 0x10000),
    Partition("vfs", 1, 0x81, 0x20000, 0x10000),
]  # fmt: skip
NVS = slice(0x9000, 0xF000)
COMMANDS = ("flash", "deploy", "provision", "selftest", "monitor", "update", "hil")
SUITE = """
def test_right(dut):
    assert dut.wrong_answers() == []
"""


class Bench:
    """A board that has been in use, and all that the commands need; `copy` makes a second one to break."""

    def __init__(self, path: Path) -> None:
        self.path, self.golden = path, path / "golden"
        self.device = lab.Provision(path / "device", count=0)
        self.device.set_frames(2)
        self.device.config |= {
            "broker": {"host": "127.0.0.1", "port": 1},
            "interval_s": 600,
        }  # nobody listens
        self.device.write()
        (path / "firmware.bin").write_bytes(stand_in_firmware("esp32c3", 0, ROWS))
        updates.new_key(path / "sign.key", path / "sign.pub")
        (path / "v2.bsu").write_bytes(updates.sign(path / "sign.key", 1, "x64"))
        with self.board(self.golden) as board:
            image = (path / "firmware.bin").read_bytes()
            board.flash.bytes[: len(image)] = image
            board.flash.bytes[NVS] = b"\x5a" * 0x6000
        with self.board(self.golden):
            pass  # it boots and makes its file system
        files = self.golden / "files"
        self.old = build("x64")
        for name in ("bsdev/mqtt.mpy", "bsdev/ring.mpy"):
            self.old[name] = self.old["bsdev/rlwe_sk.mpy"]  # an earlier version, for what is looked at here
        for path_, data in [(f"/a/{n}", d) for n, d in self.old.items()] + list(root_files("x64").items()):
            (files / path_[1:]).parent.mkdir(parents=True, exist_ok=True)
            (files / path_[1:]).write_bytes(data)
        state = {"active": "a", "version": "0.9", "counter": 0}
        (files / "app.json").write_text(json.dumps(state))
        (files / "bs").mkdir()
        for source in self.device.path.iterdir():
            (files / "bs" / source.name).write_bytes(source.read_bytes())
        (files / "bs" / "update.pub").write_bytes((path / "sign.pub").read_bytes())
        row = {"devices": {"cam-1": {"state": "ready", "board_uid": ""}}}
        (path / "inventory.json").write_text(json.dumps(row))
        # what provisioning changes: another secret and interval
        self.next = path / "next"
        shutil.copytree(self.device.path, self.next)
        (self.next / "secret.bin").write_bytes(bytes(range(32)))
        (path / "test_it.py").write_text(SUITE)
        self.totals: dict[str, int] = {}

    def board(self, folder: Path, fuse: int | None = None) -> EspBoard:
        return EspBoard(folder, "esp32c3", 0, fuse=fuse)

    def copy(self, name: str) -> Path:
        """A board like the first one; for the commands that read it, with the version of this checkout."""
        target = self.path / name
        shutil.copytree(self.golden, target)
        if name.split("-")[0] in ("selftest", "monitor", "hil"):
            for path, data in build("x64").items():
                (target / "files" / "a" / path).write_bytes(data)
        shutil.copy(self.path / "inventory.json", target / "inventory.json")
        return target

    def command(self, name: str, port: str, folder: Path, cut: bool) -> list[str]:
        """`cut`: this one will not get to its end, so `monitor` waits for what never comes."""
        here = self.path
        return {
            "flash": ["flash", port, "--board", "esp32-c3", "--firmware", str(here / "firmware.bin")],
            "deploy": ["deploy", port],
            "provision": [
                "provision", port, "--from", str(self.next), "--inventory", str(folder / "inventory.json"),
                "--interval-s", "900",
            ],
            "selftest": ["selftest", port],
            "monitor": ["monitor", port, "--until", "result" if cut else "offline", "--seconds", "60"],
            "update": ["update", port, str(here / "v2.bsu")],
            "hil": ["hil", "--body", f"serial:{port}", "--metrics", str(folder / "m.jsonl")],
        }[name]  # fmt: skip

    def run(self, name: str, folder: Path, fuse: int | None = None) -> tuple[str, int, bool]:
        """Message of its failure (empty: it succeeded), bytes that crossed the line, whether the plug stayed in."""
        with self.board(folder, fuse) as board:
            words = self.command(name, board.port, folder, fuse is not None)
            done = CliRunner().invoke(cli.build(), ["hw", *words])
            carried, plugged = board.carried, board.plugged
        if done.exception is None or done.exit_code == 0:
            return "", carried, plugged
        assert isinstance(done.exception, Exception) and cli.is_users(done.exception), done.exception
        return " ".join(str(done.exception).split()), carried, plugged

    def total(self, name: str) -> int:
        """Bytes of the whole command."""
        if name not in self.totals:
            trouble, self.totals[name], _ = self.run(name, self.copy(f"{name}-whole"))
            assert trouble == ""
        return self.totals[name]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("unplug"))


@pytest.fixture
def small_suite(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One test on the board is enough to pull a plug in; the whole suite runs in test_hil.py."""
    from blindsight.hw.hil import run as hil

    whole: Callable[..., Any] = hil.run
    monkeypatch.setattr(hil, "run", lambda *words: whole(*words, tests=bench.path / "test_it.py"))


def slot(folder: Path, name: str) -> dict[str, str]:
    base = folder / "files" / name
    return {str(p.relative_to(base)): hashlib.sha256(p.read_bytes()).hexdigest() for p in base.rglob("*.mpy")}


def digests(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def usable(bench: Bench, name: str, folder: Path) -> None:
    """What holds right after the plug was pulled."""
    flash = (folder / "flash.bin").read_bytes()
    assert flash[NVS] == b"\x5a" * 0x6000
    rows = json.loads((folder / "inventory.json").read_text())["devices"]
    assert rows["cam-1"]["state"] in (("ready", "writing") if name == "provision" else ("ready",))
    files = folder / "files"
    part = files / "app.json.part"
    text = (files / "app.json" if (files / "app.json").exists() else part).read_text()
    active = json.loads(text)["active"]
    whole = [digests(build("x64")), digests(bench.old)]
    assert slot(folder, active) in whole, "the version in use is a mixture"
    config = files / "bs" / "config.json"
    if name != "provision":
        assert config.exists()
    if config.exists():
        new = json.loads(config.read_text())["interval_s"] == 900
        source = bench.next if new else bench.device.path
        for key in ("secret.bin", "pk.bin"):
            assert (files / "bs" / key).read_bytes() == (source / key).read_bytes(), (
                "keys of another identity"
            )


@pytest.mark.usefixtures("small_suite")
@pytest.mark.parametrize(
    "at", [0.45, *(pytest.param(at, marks=pytest.mark.long) for at in (0.15, 0.65, 0.9))]
)
@pytest.mark.parametrize("name", COMMANDS)
def test_pulled_in_the_middle(bench: Bench, name: str, at: float) -> None:
    folder = bench.copy(f"{name}-{at}")
    trouble, _, plugged = bench.run(name, folder, int(at * bench.total(name)))
    assert trouble and not plugged, "the command did not notice"
    assert "run the same command" in trouble, trouble
    usable(bench, name, folder)
    again, _, _ = bench.run(name, folder)
    assert again == "", again
    usable(bench, name, folder)
    rows = json.loads((folder / "inventory.json").read_text())["devices"]
    assert rows["cam-1"]["state"] == "ready"
    state = json.loads((folder / "files" / "app.json").read_text())
    if name == "deploy":
        assert slot(folder, state["active"]) == digests(build("x64"))
    if name == "update":
        assert state["trial"]["counter"] == 1 and slot(folder, state["trial"]["slot"]) == digests(
            build("x64")
        )
    if name == "provision":
        assert json.loads((folder / "files/bs/config.json").read_text())["interval_s"] == 900
