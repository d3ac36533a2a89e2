"""MicroPython onto an ESP32-class board, with esptool as an external tool; what identifies the device stays.

Released images fill the gaps between their parts with 0xFF, and the NVS partition lies in such a gap. So the image is
written in pieces that leave out every data partition of its own table (NVS, calibration, file system), and it is
refused when the board's table has its data elsewhere. Every piece is read back and compared.
"""

from __future__ import annotations

import re
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from blindsight.hw.link import tool
from blindsight.hw.probe import missing
from blindsight.hw.profiles import Board

TABLE = 0x8000  # of the partition table on every ESP32-class chip in ESP-IDF's default layout
TABLE_BYTES = 0xC00
SECTOR = 0x1000
CHIP_IDS = {"esp32": 0, "esp32s3": 9, "esp32c3": 5, "esp32c6": 13}  # byte 12 of an image (esp_chip_id_t)
APP, DATA = 0, 1  # partition types
OTADATA = 0  # its only subtype that belongs to the firmware and not to the device


class FlashError(Exception):
    """Flashing was refused or failed; one line with the way out."""


@dataclass(frozen=True)
class Partition:
    """One row of a partition table."""

    name: str
    type: int
    subtype: int
    offset: int
    size: int

    @property
    def kept(self) -> bool:
        """Whether it is the device's, not the firmware's."""
        return self.type == DATA and self.subtype != OTADATA


def partitions(table: bytes) -> list[Partition]:
    """The rows of a binary partition table; [] when it is none."""
    rows = []
    for at in range(0, len(table) - 31, 32):
        magic, kind, subtype, offset, size, name = struct.unpack_from("<2sBBLL16s", table, at)
        if magic != b"\xaa\x50":
            break
        rows.append(Partition(name.rstrip(b"\0").decode("ascii", "replace"), kind, subtype, offset, size))
    return rows


def pieces(image: bytes, offset: int, keep: list[Partition]) -> list[tuple[int, bytes]]:
    """(address, bytes) that cover the image but for the partitions to keep."""
    out, at, end = [], offset, offset + len(image)
    for row in sorted(keep, key=lambda r: r.offset):
        if row.offset >= end:
            break
        if row.offset > at:
            out.append((at, image[at - offset : row.offset - offset]))
        at = max(at, min(row.offset + row.size, end))
    if at < end:
        out.append((at, image[at - offset :]))
    return [(a, data) for a, data in out if data.strip(b"\xff")]


class Esptool:
    """esptool 5 at a port; without its stub it talks to the chip's ROM alone, slower."""

    def __init__(self, chip: str, port: str, baud: int = 460800, stub: bool = True) -> None:
        self.chip, self.port, self.baud, self.stub = chip, port.removeprefix("serial:"), baud, stub
        self._program = tool("esptool", "'esptool>=5'")

    def run(self, *words: str, device: bool = True, after: str = "no-reset", seconds: float = 600) -> str:
        """What it prints; FlashError with its last line. `after`: a board whose BOOT and RESET are pressed by hand stays
        in its loader between two commands.
        """
        where = ["--chip", self.chip]
        if device:
            where += ["--port", self.port, "--baud", str(self.baud), "--after", after]
            where += [] if self.stub else ["--no-stub"]
        try:
            done = subprocess.run(
                [self._program, *where, *words], capture_output=True, text=True, errors="replace", timeout=seconds,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise FlashError(f"esptool {words[0]}: no end within {seconds:.0f} s") from None
        if done.returncode:
            raise FlashError(f"esptool {words[0]}: {_last(done.stdout + done.stderr)}")
        return done.stdout


def _last(output: str) -> str:
    """Its error, else its last line."""
    lines = [
        line.strip() for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output).splitlines() if line.strip()
    ]
    errors = [line for line in lines if re.search(r"fatal error|exception error", line)]
    return (errors or lines or ["failed"])[-1].removeprefix("ERROR: ")


def check_image(image: bytes, board: Board, esptool: Esptool, path: Path) -> list[Partition]:
    """The image's partition table; FlashError when the image is not one for this board."""
    flash = board.flash
    assert flash is not None
    if len(image) < 24 or image[0] != 0xE9:
        raise FlashError(f"{path} is not a firmware image of an ESP32: get one from {flash.firmware}")
    if struct.unpack_from("<H", image, 12)[0] != CHIP_IDS[flash.chip]:
        raise FlashError(f"{path} is for another chip than {flash.chip}: get one from {flash.firmware}")
    start = TABLE - flash.offset
    rows = partitions(image[start : start + TABLE_BYTES])
    if not rows:
        raise FlashError(
            f"{path} holds no partition table: use the whole image (.bin), not the application alone"
        )
    apps = [image[r.offset - flash.offset :] for r in rows if r.type == APP]
    with tempfile.TemporaryDirectory() as folder:
        for part in [image, *filter(None, apps)]:
            one = Path(folder) / "part.bin"
            one.write_bytes(part)
            said = esptool.run("image-info", str(one), device=False)
            if not re.search(r"Checksum: \S+ \(valid\)", said) or "(invalid" in said:
                raise FlashError(f"{path} is damaged (esptool: checksum): fetch it again")
    return rows


def flash(board: Board, port: str, path: Path, new_layout: bool = False, stub: bool = True) -> list[int]:
    """Writes the firmware in `path` and verifies it; the addresses written. Data partitions are not touched.
    `stub` False: without esptool's flasher stub, for a board on which that does not start.

    Raises FlashError: image not for this board, its data partitions elsewhere than the board's (unless `new_layout`,
    which loses the identity), or the line failed, then with the way to recover.
    """
    if board.flash is None:
        raise FlashError(f"{board.title} is not flashed with esptool: {board.note or 'see docs/boards.md'}")
    esptool = Esptool(board.flash.chip, port, stub=stub)
    image = path.read_bytes()
    rows = check_image(image, board, esptool, path)
    keep = [r for r in rows if r.kept]
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        try:
            table = here / "table"
            esptool.run("read-flash", hex(TABLE), hex(TABLE_BYTES), str(table))
            old = [r for r in partitions(table.read_bytes()) if r.kept]
            moved = sorted({r.name for r in set(old) ^ set(keep)})
            if old and moved and not new_layout:
                raise FlashError(
                    f"this firmware puts {', '.join(moved)} elsewhere than the board has it, the identity would be lost: use "
                    "the former kind of image, or add --new-layout and provision the board again"
                )
            words = []
            parts = pieces(image, board.flash.offset, keep)
            for address, data in parts:
                piece = here / hex(address)
                piece.write_bytes(data)
                words += [hex(address), str(piece)]
            # sizes and modes stay as built: esptool may otherwise patch the header, and verifying would fail
            as_built = ("--flash-mode", "keep", "--flash-freq", "keep", "--flash-size", "keep")
            esptool.run("write-flash", *as_built, *words)
            esptool.run("verify-flash", *as_built, *words, after="hard-reset")
        except FlashError as error:
            if "esptool" not in str(error):
                raise
            if "Could not open" in str(error):
                raise FlashError(missing(port)) from None
            raise FlashError(
                f"{error}. The board can always be flashed again, its keys are untouched: hold BOOT, press and release "
                "RESET, release BOOT, then run the same command"
            ) from None
    return [address for address, _ in parts]
