"""Flashing: esptool makes and checks the image; what goes to which address, read back; identity left alone.

No ESP32 is emulated here: the serial half of esptool is a stand-in that keeps a flash in a file.
"""

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from blindsight.hw import doctor
from blindsight.hw.flash import FlashError, Partition, flash, partitions, pieces
from blindsight.hw.profiles import load_board

ESPTOOL = Path(sys.executable).with_name("esptool")
ROWS = [
    ("nvs", 1, 2, 0x9000, 0x6000),
    ("phy_init", 1, 1, 0xF000, 0x1000),
    ("factory", 0, 0, 0x10000, 0x10000),
    ("vfs", 1, 0x81, 0x20000, 0x10000),
]
STAND_IN = """#!{python}
import subprocess, sys
words = sys.argv[1:]
flash = {flash!r}
fail = {fail!r}
command = next(w for w in words if w.endswith(("-flash", "-info")))
if command == "image-info":
    sys.exit(subprocess.run([{esptool!r}, *words]).returncode)
rest = [w for w in words[words.index(command) + 1 :]]
while rest and rest[0].startswith("--"):
    rest = rest[2:]
if command == fail:
    print("A fatal error occurred: Serial data stream stopped"); sys.exit(2)
data = bytearray(open(flash, "rb").read())
if command == "read-flash":
    at, n = int(rest[0], 0), int(rest[1], 0)
    open(rest[2], "wb").write(data[at : at + n])
for address, path in zip(rest[::2], rest[1::2]):
    if command == "read-flash":
        break
    at, piece = int(address, 0), open(path, "rb").read()
    if command == "verify-flash" and data[at : at + len(piece)] != piece:
        print("Verification failed (digest mismatch)."); sys.exit(1)
    data[at : at + len(piece)] = piece
open(flash, "wb").write(data)
"""


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


def stand_in(folder: Path, content: bytes, fail: str = "") -> tuple[str, Path]:
    chip, program = folder / "flash", folder / "esptool"
    chip.write_bytes(content)
    program.write_text(
        STAND_IN.format(python=sys.executable, flash=str(chip), fail=fail, esptool=str(ESPTOOL))
    )
    program.chmod(0o755)
    return str(program), chip


def test_flashing_keeps_what_is_the_device_s(image: Path, tmp_path: Path) -> None:
    board = load_board("esp32-c3")
    before = bytes([0x5A]) * 0x30000
    old = before[:0x8000] + table(ROWS) + before[0x8C00:]
    program, chip = stand_in(tmp_path, old)
    assert flash(board, "/dev/x", image, program=program) == [0x0, 0x10000]
    after, firmware = chip.read_bytes(), image.read_bytes()
    assert after[:0x9000] == firmware[:0x9000]
    assert after[0x9000:0x10000] == old[0x9000:0x10000], "NVS or calibration was touched"
    assert after[0x10000 : len(firmware)] == firmware[0x10000:]
    assert after[0x20000:] == old[0x20000:], "the file system was touched"


def test_a_moved_identity_is_refused(image: Path, tmp_path: Path) -> None:
    moved = [r if r[0] != "vfs" else ("vfs", 1, 0x81, 0x28000, 0x8000) for r in ROWS]
    old = bytes(0x8000) + table(moved) + bytes(0x28000)
    program, chip = stand_in(tmp_path, old)
    with pytest.raises(FlashError, match=r"puts vfs elsewhere .* --new-layout"):
        flash(load_board("esp32-c3"), "/dev/x", image, program=program)
    assert chip.read_bytes() == old
    flash(load_board("esp32-c3"), "/dev/x", image, new_layout=True, program=program)
    assert chip.read_bytes() != old


@pytest.mark.parametrize("step", ["read-flash", "write-flash", "verify-flash"])
def test_a_failure_says_how_to_recover(image: Path, tmp_path: Path, step: str) -> None:
    program, _ = stand_in(tmp_path, b"\xff" * 0x30000, fail=step)
    with pytest.raises(FlashError, match=r"stopped.*hold BOOT.*run the same command"):
        flash(load_board("esp32-c3"), "/dev/x", image, program=program)
    program, _ = stand_in(tmp_path, b"\xff" * 0x30000)
    assert flash(load_board("esp32-c3"), "/dev/x", image, program=program)


def test_wrong_images_are_refused(image: Path, tmp_path: Path) -> None:
    program, chip = stand_in(tmp_path, bytes(0x30000))
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
            flash(load_board(board), "/dev/x", bad, program=program)
    with pytest.raises(FlashError, match="UF2"):
        flash(load_board("pico-w"), "/dev/x", image, program=program)
    assert chip.read_bytes() == bytes(0x30000)


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
