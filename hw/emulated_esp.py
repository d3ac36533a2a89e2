"""An ESP32-class board that is not there: loader, flash and, once a firmware boots from it, MicroPython.

The flash is a file, so esptool writes and verifies real images on it. At a start the boot loader's checks are made: an
image that is whole boots, one that is not leaves a board without a prompt. What boots is the unix port, whatever the
image holds: chip code is not run here. The file system belongs to the image's `vfs` partition: erase that, and the board
comes up empty.

A pseudo-terminal has no DTR and RTS. The circuit by which esptool resets a board into its loader is stood for by this
rule: esptool's first frame enters the loader, a terminal's bytes leave it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blindsight.hw.emulated import EmulatedBoard
from blindsight.hw.emulated_rom import SYNC_FRAME, Flash, Loader
from blindsight.hw.flash import APP, CHIP_IDS, DATA, TABLE, TABLE_BYTES, Partition, partitions

MARK = 16  # bytes at the start of the vfs partition that tie it to the folder of files
ROWS = [  # of MicroPython's releases for 4 MiB
    Partition("nvs", 1, 2, 0x9000, 0x6000), Partition("phy_init", 1, 1, 0xF000, 0x1000),
    Partition("factory", 0, 0, 0x10000, 0x1F0000), Partition("vfs", 1, 0x81, 0x200000, 0x200000),
]  # fmt: skip
FILE_SYSTEMS = (0x81, 0x82, 0x83)  # partition subtypes fat, spiffs, littlefs


def image_size(data: bytes) -> int:
    """Bytes of the chip image at the start of `data`, checksum and SHA-256 verified; 0 when it would not boot."""
    if len(data) < 24 or data[0] != 0xE9 or not 0 < data[1] <= 16:
        return 0
    at, total = 24, 0xEF
    for _ in range(data[1]):
        if at + 8 > len(data):
            return 0
        (size,) = struct.unpack_from("<I", data, at + 4)
        at += 8
        for byte in data[at : at + size]:
            total ^= byte
        at += size
    at = (at | 15) + 1
    if at > len(data) or data[at - 1] != total:
        return 0
    if data[23] == 1:
        if hashlib.sha256(data[:at]).digest() != data[at : at + 32]:
            return 0
        at += 32
    return at


class EspBoard(EmulatedBoard):
    """A board in `folder`: flash.bin is its flash, files/ its file system while a firmware is on it.

    Args:
        chip: as esptool names it.
        offset: where the boot loader lies in flash.
        more: `heap`, `romfs`, `camera` of EmulatedBoard.
    """

    def __init__(self, folder: Path, chip: str, offset: int, fuse: int | None = None, **more: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.chip, self._offset = folder, chip, offset
        self.flash = Flash(folder / "flash.bin")
        self._loader: Loader | None = None
        self._tail = b""
        super().__init__(folder / "files", fuse=fuse, **more)

    @property
    def boots(self) -> bool:
        """Whether a whole firmware lies in flash."""
        content = self.flash.bytes
        apps = [r for r in self._rows() if r.type == APP]
        whole = bool(image_size(content[self._offset : TABLE])) and bool(apps)
        return whole and image_size(content[apps[0].offset : apps[0].offset + apps[0].size]) > 0

    def _rows(self) -> list[Partition]:
        return partitions(self.flash.bytes[TABLE : TABLE + TABLE_BYTES])

    def _start(self, mode: str) -> None:
        self._loader = None
        if not self.boots:
            self._idle()
            return
        self._mount()
        super()._start(mode)

    def _idle(self) -> None:
        if self._process is None and self._loader is None and len(self._out) < 1000:
            self._out += b"invalid header: 0xffffffff\r\n"  # the ROM resets and tries again, for ever

    def _mount(self) -> None:
        """Empties the files when the partition is not the one they were written to, as MicroPython formats it."""
        row = next((r for r in self._rows() if r.type == DATA and r.subtype in FILE_SYSTEMS), None)
        if row is None:
            return
        mark = self.folder / "files.mark"
        here = bytes(self.flash.bytes[row.offset : row.offset + MARK])
        if mark.exists() and mark.read_bytes() == here:
            return
        shutil.rmtree(self.root)
        self.root.mkdir()
        fresh = os.urandom(MARK)
        self.flash.erase(row.offset, MARK)
        self.flash.program(row.offset, fresh)
        mark.write_bytes(fresh)

    def _receive(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-512:]
        if self._loader is None and SYNC_FRAME in self._tail:
            self._end_process(kill=True)
            self._loader = Loader(self.chip, self.flash)
            self._out.clear()
            data = self._tail[self._tail.index(SYNC_FRAME) :]
        if self._loader is None:
            super()._receive(data)
            return
        self._out += self._loader.feed(data)
        typed = self._loader.outside
        if b"\x03" in typed or b"\r" in typed:
            self._tail = b""
            self._start("idle")
            super()._receive(typed)


def stand_in_firmware(chip: str, offset: int, rows: Sequence[Partition] = ROWS) -> bytes:
    """A whole image for `chip` with this partition table that flashes, verifies and boots here, and does nothing on a
    real chip: for trying the way when no release of MicroPython is at hand.
    """
    code = hashlib.sha256(f"stand-in for {chip}".encode()).digest() * 512
    part = bytearray(
        struct.pack("<BBBBIB3xH3xH4xB", 0xE9, 1, 2, 0x20, 0x40380000, 0xEE, CHIP_IDS[chip], 0xFFFF, 1)
    )
    part += struct.pack("<II", 0x40380000, len(code)) + code
    total = 0xEF
    for byte in code:
        total ^= byte
    part += bytes(15 - len(part) % 16) + bytes([total])
    part += hashlib.sha256(part).digest()
    table = b"".join(
        struct.pack("<2sBBLL16sL", b"\xaa\x50", r.type, r.subtype, r.offset, r.size, r.name.encode(), 0)
        for r in rows
    )
    table += b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(table, usedforsecurity=False).digest()
    app = next(r for r in rows if r.type == APP)
    image = bytearray(b"\xff" * (app.offset - offset))
    image[: len(part)] = part
    image[TABLE - offset : TABLE - offset + len(table)] = table
    return bytes(image + part)
