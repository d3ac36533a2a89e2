"""The application in ROMFS: image by the real mpremote, mounted by MicroPython's own VfsRom, run by the launcher."""

import subprocess
import sys
from pathlib import Path

import pytest

from blindsight.hw.deploy import APP, build, deploy
from blindsight.hw.emulated import EmulatedBoard
from blindsight.hw.link import Link, LinkError
from blindsight.hw.romfs import build_image, deploy_romfs
from blindsight.hw.selftest import selftest

ROOM = 128 << 10


def numbers(data: bytes, at: int, end: int) -> list[tuple[int, bytes]]:
    """The records of a ROMFS image between two places: kind and payload."""
    out = []
    while at < end:
        kind, at = unsigned(data, at)
        size, at = unsigned(data, at)
        out.append((kind, data[at : at + size]))
        at += size
    return out


def unsigned(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    while data[at] & 0x80:
        value, at = value << 7 | data[at] & 0x7F, at + 1
    return value << 7 | data[at], at + 1


def listed(payload: bytes, prefix: str = "") -> dict[str, bytes]:
    """Paths and contents below a directory's records."""
    out: dict[str, bytes] = {}
    for kind, body in numbers(payload, 0, len(payload)):
        size, at = unsigned(body, 0)
        name, rest = body[at : at + size].decode(), body[at + size :]
        if kind == 4:
            out |= listed(rest, f"{prefix}{name}/")
        elif kind == 5:
            ((_, content),) = numbers(rest, 0, len(rest))
            out[prefix + name] = content
    return out


def test_the_image_holds_the_application(tmp_path: Path) -> None:
    """Layout against MicroPython's documented format: magic, length, records of directories and files."""
    files = build("rv32imc")
    size = build_image(Link("/dev/null"), files, tmp_path / "app.romfs")
    image = (tmp_path / "app.romfs").read_bytes()
    assert image[:3] == b"\xd2\xcd\x31" and len(image) == size <= 64 << 10
    length, at = unsigned(image, 3)
    assert at + length == size
    assert listed(image[at:]) == files


def test_deploy_run_and_go_back(tmp_path: Path) -> None:
    with EmulatedBoard(tmp_path / "flash", romfs=ROOM) as board:
        link = Link(board.port)
        first = deploy_romfs(link)
        assert first.slot == "rom" and first.sent > 25
        assert deploy_romfs(link).sent == 0
        assert not (tmp_path / "flash" / "a").exists()
        found = selftest(link)
        assert found["passed"] and found["cores"]["rlwe"] == "viper"
        code = "import sys; sys.path.insert(0, '/rom'); import bsdev; print(bsdev.__file__)"
        assert link.mpremote("exec", code, doing="looking").strip() == "/rom/bsdev/__init__.mpy"
        again = deploy(link)
        assert again.slot in ("a", "b") and selftest(link)["passed"]
        assert deploy_romfs(link).slot == "rom" and selftest(link)["passed"]


def test_pulled_while_writing_it(tmp_path: Path) -> None:
    """Cut in the writing: the version of a slot runs, or none and the board says so; the same command finishes."""
    changed = tmp_path / "app"
    for source in [*APP.glob("*.py"), *APP.glob("bsdev/*.py")]:
        target = changed / source.relative_to(APP)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text().replace('VERSION = "', 'VERSION = "9.')
        target.write_text(text)
    with EmulatedBoard(tmp_path / "flash", romfs=ROOM) as board:
        deploy_romfs(Link(board.port))
    with (
        EmulatedBoard(tmp_path / "flash", fuse=40000) as board,
        pytest.raises(LinkError, match="run the same command"),
    ):
        deploy_romfs(Link(board.port, 60), changed)
    with EmulatedBoard(tmp_path / "flash") as board:
        link = Link(board.port)
        with pytest.raises(LinkError, match=r"no application .* hw deploy"):
            selftest(link)
        assert deploy_romfs(link, changed).version.startswith("9.")
        assert selftest(link)["passed"]


def test_a_board_without_romfs_is_refused(tmp_path: Path) -> None:
    with EmulatedBoard(tmp_path / "flash") as board:
        done = subprocess.run(
            [str(Path(sys.executable).with_name("blindsight")), "hw", "deploy", board.port, "--to", "romfs"],
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
        assert "no ROMFS partition" in done.stderr
    with (
        EmulatedBoard(tmp_path / "small", romfs=16 << 10) as board,
        pytest.raises(LinkError, match="its ROMFS has 16,384"),
    ):
        deploy_romfs(Link(board.port))
