"""Signed updates on an emulated board: checked there, on trial, kept when healthy, rolled back when not."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "system"))
import firmware_lab as lab

from blindsight.hw import update as updates
from blindsight.hw.deploy import APP, deploy
from blindsight.hw.emulated import EmulatedBoard
from blindsight.hw.inventory import Inventory
from blindsight.hw.link import Link, LinkError
from blindsight.hw.monitor import events
from blindsight.hw.provision import provision


class Bench:
    """A board with the application and an update key; `app` is a copy of the firmware to change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.device = lab.Provision(path / "device", count=0, interval_s=0, max_open=64)
        self.device.set_frames(8)
        self.servers = lab.Servers(self.device)
        self.broker = lab.Broker(self.servers.receive)
        self.device.config["broker"]["port"] = self.broker.port
        self.device.config["interval_s"] = 2
        self.device.write()
        updates.new_key(path / "sign.key", path / "sign.pub")
        self.app = path / "app"
        for source in [*APP.glob("*.py"), *APP.glob("bsdev/*.py")]:
            target = self.app / source.relative_to(APP)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())

    def version(self, number: str, breaks: str = "") -> None:
        init = self.app / "bsdev" / "__init__.py"
        lines = [line for line in init.read_text().splitlines() if not line.startswith("VERSION")]
        init.write_text("\n".join([*lines, f'VERSION = "{number}"']) + "\n")
        main = self.app / "main.py"
        main.write_text((APP / "main.py").read_text().replace("\nmain()\n", f"\n{breaks}\nmain()\n"))

    def package(self, counter: int, key: str = "sign.key") -> updates.Package:
        path = self.path / "package"
        path.write_bytes(updates.sign(self.path / key, counter, "x64", self.app))
        return updates.read_package(path)

    def watch(self, board: EmulatedBoard, until: str) -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []
        for event in events(board.port, seconds=60):
            if isinstance(event, dict):
                seen.append(event)
                if event["event"] == until:
                    return seen
        raise AssertionError(f"no {until}: {seen}")

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.path / "flash" / "app.json").read_text())
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    b = Bench(tmp_path)
    yield b
    b.broker.close()


def test_an_update_s_life(bench: Bench) -> None:
    with EmulatedBoard(bench.path / "flash") as board:
        link = Link(board.port)
        deploy(link)
        provision(
            link,
            bench.device.path,
            Inventory(bench.path / "i.json"),
            update_key=(bench.path / "sign.pub").read_bytes(),
        )

        # healthy: the trial ends with the first receipt, and stays
        bench.version("1.1.0")
        updates.update(link, bench.package(1))
        assert bench.state()["active"] == "a" and bench.state()["trial"]["slot"] == "b"
        seen = bench.watch(board, "healthy")
        assert [e["version"] for e in seen if e["event"] in ("trial", "boot")] == ["1.1.0", "1.1.0"]
        assert bench.state() == {"active": "b", "version": "1.1.0", "counter": 1}

        # broken: it fails at start, and the version before answers at once
        bench.version("1.2.0", breaks="raise RuntimeError('broken on purpose')")
        updates.update(link, bench.package(2))
        seen = bench.watch(board, "connected")
        (back,) = (e for e in seen if e["event"] == "rollback")
        assert "broken on purpose" in back["reason"]
        assert [e["version"] for e in seen if e["event"] == "boot"] == ["1.1.0"]
        assert bench.state() == {"active": "b", "version": "1.1.0", "counter": 1, "failed": "1.2.0"}

        # never healthy: it hangs, and the fourth start goes back
        bench.version("1.3.0", breaks="import time\nwhile True: time.sleep(1)")
        updates.update(link, bench.package(3))
        for start in (1, 2, 3):
            seen = bench.watch(board, "trial")
            assert seen[-1]["tries"] == start
        assert bench.watch(board, "boot")[-1]["version"] == "1.1.0"
        assert bench.state()["failed"] == "1.3.0"


def test_the_board_refuses(bench: Bench) -> None:
    """Another key, an old counter, a changed file: refused by the board, which keeps its version."""
    with EmulatedBoard(bench.path / "flash") as board:
        link = Link(board.port)
        deploy(link)
        bench.version("1.1.0")
        with pytest.raises(updates.UpdateError, match="no update key"):
            updates.update(link, bench.package(1))
        key = (bench.path / "sign.pub").read_bytes()
        provision(link, bench.device.path, Inventory(bench.path / "i.json"), update_key=key)
        updates.new_key(bench.path / "other.key", bench.path / "other.pub")
        with pytest.raises(updates.UpdateError, match="signature is not of this board's"):
            updates.update(link, bench.package(1, "other.key"))
        good = bench.package(1)
        forged = updates.Package(
            good.raw, good.signature, good.manifest, good.files | {"bsdev/keys.mpy": b"x"}
        )
        with pytest.raises(updates.UpdateError, match=r"bsdev/keys.mpy is not the file that was signed"):
            updates.update(link, forged)
        extra = updates.Package(
            good.raw, good.signature, good.manifest, good.files | {"bsdev/more.mpy": b"x"}
        )
        with pytest.raises(updates.UpdateError, match="other files"):
            updates.update(link, extra)
        app = bench.path / "flash" / "app.json"
        app.write_text(json.dumps(bench.state() | {"counter": 1}))
        with pytest.raises(updates.UpdateError, match="not above 1"):
            updates.update(link, good)
        assert "trial" not in bench.state() and bench.state()["active"] == "a"
    with (
        EmulatedBoard(bench.path / "flash", fuse=4000) as board,
        pytest.raises(LinkError, match="run the same command"),
    ):
        updates.update(Link(board.port, 60), bench.package(2))
    with EmulatedBoard(bench.path / "flash") as board:
        updates.update(Link(board.port), bench.package(2))
        assert bench.state()["trial"]["counter"] == 2


def test_packages_are_checked_here_too(bench: Bench) -> None:
    path = bench.path / "package"
    good = updates.sign(bench.path / "sign.key", 7, "x64", bench.app)
    path.write_bytes(good)
    public = (bench.path / "sign.pub").read_bytes()
    assert updates.read_package(path, public).manifest["counter"] == 7
    for damaged in (good[:-1], good + b"x", good[:4] + good[5:], b"", good[:71], good[:-40] + bytes(40)):
        path.write_bytes(damaged)
        with pytest.raises(updates.UpdateError):
            updates.read_package(path, public)
    path.write_bytes(good[:10] + bytes([good[10] ^ 1]) + good[11:])
    with pytest.raises(updates.UpdateError, match="not signed"):
        updates.read_package(path, public)
    with pytest.raises(updates.UpdateError, match="exists"):
        updates.new_key(bench.path / "sign.key", bench.path / "x")
    assert (bench.path / "sign.key").stat().st_mode & 0o777 == 0o600
