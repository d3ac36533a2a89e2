"""Flashing: the real esptool writes real images onto an emulated chip over a pseudo-terminal and verifies them there.

The chip's loader (hw/emulated_rom.py) answers esptool frame by frame; only the flasher stub's machine code is not run.
"""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from rfc2217_server import Server

from blindsight.hw import doctor
from blindsight.hw.emulated_esp import EspBoard, image_size, stand_in_firmware
from blindsight.hw.emulated_rom import Flash
from blindsight.hw.flash import FlashError, Partition, flash, partitions, pieces
from blindsight.hw.link import Link, LinkError
from blindsight.hw.profiles import load_board

BLINDSIGHT = str(Path(sys.executable).with_name("blindsight"))
ESPTOOL = Path(sys.executable).with_name("esptool")
ROWS = [
    ("nvs", 1, 2, 0x9000, 0x6000),
    ("phy_init", 1, 1, 0xF000, 0x1000),
    ("factory", 0, 0, 0x10000, 0x10000),
    ("vfs", 1, 0x81, 0x20000, 0x10000),
]


def table(rows: list[tuple[str, int, int, int, int]]) -> bytes:
    out = b"".join(
        struct.pack("<2sBBLL16sL", b"\xaa\x50", t, s, o, n, name.encode(), 0) for name, t, s, o, n in rows
    )
    return out.ljust(0xC00, b"\xff")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A merged ESP32-C3 image: program compiled here, elf2image and merge-bin of esptool."""
    source = tmp_path / "x.c"
    source.write_text("int x = 7; void _start(void) { for (;;) x++; }\n")
    elf = tmp_path / "x.elf"
    command = [
        "riscv64-unknown-elf-gcc",
        "-march=rv32imc",
        "-mabi=ilp32",
        "-misa-spec=2.2",
        "-nostdlib",
        "-Wl,-Ttext=0x40380000",
    ]
    subprocess.run(
        [*command, "-Wl,-Tdata=0x3fc80000", "-Wl,-N", "-o", str(elf), str(source)], check=True, timeout=60
    )
    app, rows, out = tmp_path / "x.bin", tmp_path / "table.bin", tmp_path / "firmware.bin"
    rows.write_bytes(table(ROWS))
    tool = [str(ESPTOOL), "--chip", "esp32c3"]
    subprocess.run(
        [*tool, "elf2image", "-o", str(app), str(elf)], check=True, timeout=60, capture_output=True
    )
    parts = ["0x0", str(app), "0x8000", str(rows), "0x10000", str(app)]
    subprocess.run([*tool, "merge-bin", "-o", str(out), *parts], check=True, timeout=60, capture_output=True)
    return out


def put(folder: Path, content: bytes) -> None:
    """A board whose flash begins with this."""
    folder.mkdir()
    (folder / "flash.bin").write_bytes(content.ljust(1 << 22, b"\xff"))


@pytest.mark.parametrize("stub", [True, False], ids=["stub", "no-stub"])
def test_flashing_keeps_what_is_the_device_s(image: Path, tmp_path: Path, stub: bool) -> None:
    """NVS, calibration and file system byte for byte; the rest is the image, verified by MD5 on the chip."""
    before = bytes([0x5A]) * 0x30000
    old = before[:0x8000] + table(ROWS) + before[0x8C00:]
    put(tmp_path / "c3", old)
    words = ["flash", "", "--board", "esp32-c3", "--firmware", str(image), "--json"]
    with EspBoard(tmp_path / "c3", "esp32c3", 0) as board:
        assert not board.boots
        words[1] = board.port
        command = [BLINDSIGHT, "hw", *words, *([] if stub else ["--no-stub"])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"written": [0x0, 0x10000]}
        after, firmware = bytes(board.flash.bytes), image.read_bytes()
        assert board.boots
    assert after[:0x9000] == firmware[:0x9000]
    assert after[0x9000:0x10000] == old[0x9000:0x10000], "NVS or calibration was touched"
    assert after[0x10000 : len(firmware)] == firmware[0x10000:]
    assert after[0x20000:0x30000] == old[0x20000:0x30000], "the file system was touched"


@pytest.mark.parametrize(
    "name", ["esp32", *(pytest.param(n, marks=pytest.mark.long) for n in ("esp32-s3-sense", "esp32-c6"))]
)
def test_other_chips(name: str, tmp_path: Path) -> None:
    """An empty chip of each kind: no prompt, flashed, MicroPython answers; the wrong chip is named by esptool."""
    board, other = load_board(name), load_board("esp32-c3")
    assert board.flash and other.flash
    rows = [Partition(n, t, s, o, size) for n, t, s, o, size in ROWS]
    firmware, wrong = tmp_path / "f.bin", tmp_path / "w.bin"
    firmware.write_bytes(stand_in_firmware(board.flash.chip, board.flash.offset, rows))
    wrong.write_bytes(stand_in_firmware("esp32c3", 0, rows))
    with EspBoard(tmp_path / "b", board.flash.chip, board.flash.offset) as chip:
        with pytest.raises(LinkError, match=r"no firmware .* hw flash"):
            Link(chip.port).inspect()
        with pytest.raises(FlashError, match=r"[Tt]his chip is ESP32"):
            flash(other, chip.port, wrong)
        flash(board, chip.port, firmware)
        assert Link(chip.port).inspect()["platform"] == "linux"


@pytest.mark.long
def test_a_board_on_another_machine(tmp_path: Path) -> None:
    """esptool and mpremote through RFC 2217."""
    known = load_board("esp32-c3")
    assert known.flash
    firmware = tmp_path / "f.bin"
    firmware.write_bytes(stand_in_firmware("esp32c3", 0, [Partition(*row) for row in ROWS]))
    with EspBoard(tmp_path / "b", "esp32c3", 0) as chip:
        server = Server(chip.port)
        try:
            flash(known, server.url, firmware)
            assert Link(server.url).inspect()["platform"] == "linux"
        finally:
            server.close()


def test_a_moved_identity_is_refused(image: Path, tmp_path: Path) -> None:
    moved = [r if r[0] != "vfs" else ("vfs", 1, 0x81, 0x28000, 0x8000) for r in ROWS]
    old = bytes(0x8000) + table(moved) + bytes(0x28000)
    put(tmp_path / "c3", old)
    with EspBoard(tmp_path / "c3", "esp32c3", 0) as chip:
        with pytest.raises(FlashError, match=r"puts vfs elsewhere .* --new-layout"):
            flash(load_board("esp32-c3"), chip.port, image)
        assert bytes(chip.flash.bytes[: len(old)]) == old
        flash(load_board("esp32-c3"), chip.port, image, new_layout=True)
        assert chip.boots


def test_a_flash_cell_that_does_not_take_is_found(image: Path, tmp_path: Path) -> None:
    """A worn cell: written, read back by MD5, refused, with the way out."""
    with EspBoard(tmp_path / "c3", "esp32c3", 0) as chip:
        program = chip.flash.program

        def worn(at: int, data: bytes) -> bool:
            good = program(at, data)
            if at <= 0x10020 < at + len(data):
                chip.flash.bytes[0x10020] &= 0xFE
                chip.flash.bytes[0x10021] &= 0xFE
            return good

        chip.flash.program = worn  # type: ignore[method-assign]
        with pytest.raises(FlashError, match=r"MD5 of file does not match.*hold BOOT.*run the same command"):
            flash(load_board("esp32-c3"), chip.port, image)


def test_wrong_images_are_refused(image: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.bin"
    good = image.read_bytes()
    for content, board, complaint in (
        (b"PK\x03\x04" * 20, "esp32-c3", "not a firmware image"),
        (good, "esp32-s3-sense", "another chip"),
        (good[:0x7000], "esp32-c3", "no partition table"),
        (good[:44] + b"\x99" + good[45:], "esp32-c3", "damaged|End of file"),
        (good[:0x10028] + b"\x99" + good[0x10029:], "esp32-c3", "damaged|End of file"),
    ):
        bad.write_bytes(content)
        with pytest.raises(FlashError, match=complaint):
            flash(load_board(board), "/dev/no-such-port", bad)
    with pytest.raises(FlashError, match="UF2"):
        flash(load_board("pico-w"), "/dev/no-such-port", image)


def test_no_port_says_so(image: Path) -> None:
    with pytest.raises(FlashError, match="plug the board in"):
        flash(load_board("esp32-c3"), "/dev/no-such-port", image)


def test_the_emulated_flash_is_a_flash(image: Path, tmp_path: Path) -> None:
    """It programs by clearing bits and erases by sector; a broken image does not boot."""
    memory = Flash(tmp_path / "f", 0x4000)
    assert memory.program(0x10, b"\x0f") and memory.program(0x10, b"\xf3")
    assert memory.bytes[0x10] == 0x03
    memory.erase(0x20, 1)
    assert memory.bytes[0x10] == 0xFF and not memory.program(0x3FFF, b"ab")
    whole = image.read_bytes()
    assert image_size(whole) and image_size(whole[0x10000:])
    assert not image_size(whole[:40]) and not image_size(whole[:50] + b"\x99" + whole[51:])


def test_pieces_leave_gaps() -> None:
    keep = [Partition("a", 1, 2, 4, 2), Partition("b", 1, 2, 8, 100)]
    assert pieces(b"0123456789", 2, keep) == [(2, b"01"), (6, b"45")]
    assert pieces(b"0123", 0, []) == [(0, b"0123")]
    assert pieces(b"0123", 5, keep) == [(6, b"12")]
    assert partitions(b"\xff" * 64) == []


def test_the_doctor_names_a_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = doctor.doctor()
    assert {t["tool"] for t in found["tools"]} >= {"mpremote", "mpy-cross", "esptool"}
    assert all(not t["fix"] for t in found["tools"][:3]), found["tools"]
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    port = tmp_path / "ttyX"
    port.touch()
    row = doctor.port_row(str(port), 0x303A, "")
    assert "usermod -aG" in row["fix"] and "Espressif" in row["kind"]
    missing = doctor._tool(doctor.Tool("no-such-tool", "x", "pip install y"))
    assert missing["fix"] == "pip install y"
