"""Provisioning decisions that an emulated board cannot show: unique ids, changed hands, damaged directories."""

import json
from pathlib import Path
from typing import Any

import pytest

from blindsight.hw.deploy import arch_of
from blindsight.hw.inventory import Inventory, InventoryError
from blindsight.hw.link import LinkError
from blindsight.hw.provision import ProvisionError, fingerprint, provision, read_directory


class FakeLink:
    """A board that says who it is and takes everything."""

    port = "/dev/fake"

    def __init__(self, uid: str, holds: str | None = None) -> None:
        self.uid = uid
        self.config: dict[str, Any] = {"device": holds} if holds else {}
        self.sent: dict[str, bytes] = {}
        self.removed: list[str] = []

    def inspect(self, *folders: str, read: tuple[str, ...] = ()) -> dict[str, Any]:
        text = {"/bs/config.json": json.dumps(self.config)} if self.config else {}
        return {"uid": self.uid, "platform": "esp32", "files": {"/bs.new/other.bin": "x"}, "read": text}

    def put(self, files: dict[str, bytes], doing: str) -> None:
        self.sent |= files

    def commit(self, doing: str, hashes: dict[str, str], **parts: Any) -> None:
        self.removed += parts["remove"]
        assert parts["moves"][-1] == ("/bs.new/config.json", "/bs/config.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "cam"
    made.mkdir()
    config = {"device": "cam", "epoch": 2, "mode": "rlwe", "broker": {"host": "h", "port": 1}}
    (made / "config.json").write_text(json.dumps(config))
    (made / "secret.bin").write_bytes(bytes(32))
    (made / "pk.bin").write_bytes(bytes(3360))
    (made / "boot.0").write_text("{}")
    return made


def test_what_goes_to_the_board(folder: Path, tmp_path: Path) -> None:
    link: Any = FakeLink("aa")
    done = provision(link, folder, Inventory(tmp_path / "i.json"), {"ssid": "net", "password": "hidden"})
    assert set(link.sent) == {"/bs.new/config.json", "/bs.new/secret.bin", "/bs.new/pk.bin"}
    assert json.loads(link.sent["/bs.new/config.json"])["wifi"] == {"ssid": "net", "password": "hidden"}
    assert link.removed == ["/bs/config.json", "/bs.new/other.bin"]
    text = (tmp_path / "i.json").read_text()
    assert "hidden" not in text and done.row["state"] == "ready" and done.row["board_uid"] == "aa"
    assert done.fingerprint == fingerprint(bytes(3360)) and len(done.fingerprint.split()) == 16


def test_what_was_given_once_stays(folder: Path, tmp_path: Path) -> None:
    """Wi-Fi and camera survive a provisioning that names neither, but not a change of identity."""
    inventory, board = Inventory(tmp_path / "i.json"), FakeLink("aa")
    link: Any = board
    wifi = {"ssid": "net", "password": "hidden"}
    provision(link, folder, inventory, wifi, settings={"camera": {"kind": "synthetic"}, "interval_s": 5})
    first = json.loads(board.sent["/bs.new/config.json"])
    assert first["local"] == ["camera", "interval_s", "wifi"]
    board.config = first
    provision(link, folder, inventory, update_key=bytes(32), settings={"interval_s": 9})
    second = json.loads(board.sent["/bs.new/config.json"])
    assert second == first | {"interval_s": 9}
    board.config = first | {"device": "other"}
    provision(link, folder, inventory, replace=True)
    assert "wifi" not in json.loads(board.sent["/bs.new/config.json"])


def test_one_identity_stays_on_one_board(folder: Path, tmp_path: Path) -> None:
    inventory = Inventory(tmp_path / "i.json")
    first: Any = FakeLink("aa")
    provision(first, folder, inventory)
    second: Any = FakeLink("bb")
    with pytest.raises(ProvisionError, match="cam is another board"):
        provision(second, folder, inventory)
    assert not second.sent
    assert provision(second, folder, inventory, replace=True).row["board_uid"] == "bb"
    taken: Any = FakeLink("bb", holds="porch")
    with pytest.raises(ProvisionError, match="this board is porch"):
        provision(taken, folder, inventory)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("secret.bin", b"short", "secret.bin must hold 32"),
        ("pk.bin", b"short", "pk.bin must hold 3360"),
        ("config.json", b"[]", "not the settings"),
        ("config.json", b"{", "not the settings"),
        ("big.bin", bytes(1 << 20), "over 1 MiB"),
    ],
)
def test_damaged_directories_are_refused(
    folder: Path, tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    (folder / name).write_bytes(content)
    link: Any = FakeLink("aa")
    with pytest.raises(ProvisionError, match=complaint):
        provision(link, folder, Inventory(tmp_path / "i.json"))
    assert not link.sent and not (tmp_path / "i.json").exists()


def test_missing_files_are_named(folder: Path, tmp_path: Path) -> None:
    (folder / "pk.bin").unlink()
    link: Any = FakeLink("aa")
    with pytest.raises(ProvisionError, match=r"no pk\.bin"):
        provision(link, folder, Inventory(tmp_path / "i.json"))
    with pytest.raises(ProvisionError, match="keys device"):
        read_directory(tmp_path)


def test_a_damaged_inventory_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "i.json"
    path.write_text("not json")
    with pytest.raises(InventoryError, match="not an inventory"):
        Inventory(path).write("cam", state="ready")
    assert path.read_text() == "not json"


@pytest.mark.parametrize(
    ("mpy", "arch"), [(2822, "x64"), (6 | 3 << 8 | 11 << 10, "rv32imc"), (6 | 3 << 8 | 10 << 10, "xtensawin")]
)
def test_the_board_s_own_architecture(mpy: int, arch: str) -> None:
    assert arch_of({"mpy": mpy}) == arch


@pytest.mark.parametrize(
    "mpy", [0, 6 | 3 << 8, 6 | 2 << 8 | 10 << 10, 5 | 3 << 8 | 10 << 10, 6 | 3 << 8 | 60 << 10]
)
def test_firmware_that_cannot_load_the_application(mpy: int) -> None:
    with pytest.raises(LinkError, match="flash release"):
        arch_of({"mpy": mpy})
