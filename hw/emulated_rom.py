"""The serial loader of an ESP32-class chip that is not there: what esptool meets when it flashes a board.

Two loaders in one, as on the chip: the ROM's, and the flasher stub that esptool uploads to RAM and starts. The stub's
code is for the chip's own CPU and is not executed here: once all of it has arrived and been started, this file answers
in its place. Frames, commands and status bytes as Espressif's serial protocol documentation and esptool 5 have them;
flash as NOR flash is: erased by sector to ones, programmed by clearing bits.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SECTOR = 0x1000
SYNC_FRAME = b"\xc0\x00\x08\x24\x00"  # how esptool's first frame begins
SPI_USER = 1 << 18  # of the SPI command register: run the command in USR2
OK, UNSUPPORTED, BAD_CHECKSUM, BAD_LENGTH = (0, 0), (1, 5), (1, 7), (1, 9)


@dataclass(frozen=True)
class Chip:
    """What tells chips apart over the line: id of the security information (None: older chips have a magic word
    instead), registers of the flash controller, registers that do not read zero.
    """

    id: int | None
    spi: int
    usr2: int
    w0: int
    registers: dict[int, int]


MAGIC_REGISTER = 0x40001000
CHIPS = {
    "esp32": Chip(None, 0x3FF42000, 0x24, 0x80, {MAGIC_REGISTER: 0x00F01D83, 0x3FF40014: 347}),  # 115200 from 40 MHz
    "esp32s3": Chip(9, 0x60002000, 0x20, 0x58, {}),
    "esp32c3": Chip(5, 0x60002000, 0x20, 0x58, {}),
    "esp32c6": Chip(13, 0x60003000, 0x20, 0x58, {}),
}  # fmt: skip


class Flash:
    """A NOR flash in a file; what was written stays when the process dies."""

    def __init__(self, path: Path, size: int = 4 << 20) -> None:
        if not path.exists():
            path.write_bytes(b"\xff" * size)
        with open(path, "r+b") as f:
            self.bytes = mmap.mmap(f.fileno(), 0)

    def erase(self, at: int, size: int) -> None:
        """Whole sectors that hold `size` bytes from `at`."""
        first = at // SECTOR * SECTOR
        last = min(-(-(at + size) // SECTOR) * SECTOR, len(self.bytes))
        self.bytes[first:last] = b"\xff" * (last - first)

    def program(self, at: int, data: bytes) -> bool:
        """Clears bits; False past the end."""
        if at + len(data) > len(self.bytes):
            return False
        old = int.from_bytes(self.bytes[at : at + len(data)], "little")
        self.bytes[at : at + len(data)] = (old & int.from_bytes(data, "little")).to_bytes(len(data), "little")
        return True


class Loader:
    """The loader; bytes in, bytes out. `outside` is how many bytes came between frames last (a terminal's, not
    esptool's).
    """

    def __init__(self, chip: str, flash: Flash) -> None:
        self.chip, self.flash, self.stub = CHIPS[chip], flash, False
        self._registers = dict(self.chip.registers)
        self._frame: bytearray | None = None
        self._escape = False
        self._uploaded = 0  # bytes of a stub in RAM
        self._at = self._end = self._erased = 0
        self._unpack = zlib.decompressobj()
        self._reading: tuple[int, int, int] | None = None  # begin, sent up to, end
        self.outside = b""
        self._commands: dict[int, Callable[[bytes], tuple[tuple[int, int], bytes]]] = {
            0x02: self._flash_begin, 0x03: self._flash_data, 0x04: self._flash_end, 0x05: self._mem_begin,
            0x07: self._mem_data, 0x0B: self._nothing, 0x0D: self._nothing, 0x0F: self._nothing,
            0x10: self._flash_begin, 0x11: self._flash_data_deflated, 0x12: self._flash_end, 0x13: self._md5,
            0x0E: self._read_slow, 0x14: self._security,
        }  # fmt: skip

    def feed(self, data: bytes) -> bytes:
        """What goes back for these bytes of the line."""
        out, self.outside = b"", b""
        for byte in data:
            if self._frame is None:
                if byte == 0xC0:
                    self._frame = bytearray()
                else:
                    self.outside += bytes([byte])
            elif byte == 0xC0:
                if self._frame:
                    out += self._serve(bytes(self._frame))
                    self._frame = None
            elif byte == 0xDB:
                self._escape = True
            else:
                self._frame.append({0xDC: 0xC0, 0xDD: 0xDB}[byte] if self._escape else byte)
                self._escape = False
        return out

    @staticmethod
    def _packed(frame: bytes) -> bytes:
        return b"\xc0" + frame.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"

    def _answer(self, op: int, status: tuple[int, int], data: bytes = b"", value: int = 0) -> bytes:
        data += bytes(status) + (b"" if self.stub else b"\0\0")
        return self._packed(struct.pack("<BBHI", 1, op, len(data), value) + data)

    def _serve(self, frame: bytes) -> bytes:
        if self._reading is not None:
            return self._acknowledged(frame)
        if len(frame) < 8 or frame[0]:
            return b""
        op, size = struct.unpack_from("<BH", frame, 1)
        data = frame[8:]
        if size != len(data):
            return self._answer(op, BAD_LENGTH)
        if op == 0x08:
            self.stub = False  # esptool resets the chip before it asks
            return self._answer(op, OK, value=0x20120707) * 8
        if op == 0x06:
            return self._mem_end(data)
        if op == 0x0A:
            return self._answer(op, OK, value=self._registers.get(struct.unpack("<I", data)[0], 0))
        if op == 0x09:
            return self._write_register(*struct.unpack_from("<II", data))
        if op in (0x03, 0x07, 0x11) and self._checksum(data[16:]) != struct.unpack_from("<I", frame, 4)[0]:
            return self._answer(op, BAD_CHECKSUM)
        if op == 0xD2 and self.stub:
            return self._read(data)
        if op not in self._commands or (op == 0x0E and self.stub):
            return self._answer(op, UNSUPPORTED)
        status, answer = self._commands[op](data)
        return self._answer(op, status, answer)

    @staticmethod
    def _checksum(data: bytes) -> int:
        total = 0xEF
        for byte in data:
            total ^= byte
        return total

    def _nothing(self, data: bytes) -> tuple[tuple[int, int], bytes]:
        return OK, b""

    def _write_register(self, address: int, value: int) -> bytes:
        base = self.chip.spi
        if address == base and value & SPI_USER:
            value &= ~SPI_USER
            command = self._registers.get(base + self.chip.usr2, 0) & 0xFF
            # JEDEC id, third byte the logarithm of the size
            size = len(self.flash.bytes).bit_length() - 1
            self._registers[base + self.chip.w0] = 0x0040C8 | size << 16 if command == 0x9F else 0
        self._registers[address] = value
        return self._answer(0x09, OK)

    def _security(self, data: bytes) -> tuple[tuple[int, int], bytes]:
        if self.chip.id is None:
            return UNSUPPORTED, b""
        return OK, struct.pack("<I8xII", 0, self.chip.id, 0)

    def _mem_begin(self, data: bytes) -> tuple[tuple[int, int], bytes]:
        return OK, b""

    def _mem_data(self, data: bytes) -> tuple[tuple[int, int], bytes]:
        self._uploaded += len(data) - 16
        return OK, b""

    def _mem_end(self, data: bytes) -> bytes:
        started = struct.unpack("<II", data)[1] != 0 and self._uploaded > 0
        answer = self._answer(0x06, OK)
        self.stub, self._uploaded = started, 0
        return answer + (self._packed(b"OHAI") if started else b"")

    def _flash_begin(self, data: bytes) -> tuple[tuple[int, int], bytes]:
        size, _, _, at = struct.unpack_from("<IIII", data)
        if at + size > len(self.flash.bytes):
            return BAD_LENGTH, b""
        self._at = self._erased = at
        self._end = at + size
        self._unpack = zlib.decompressobj()
        if not self.stub:  # the ROM erases first, the stub as it goes
            self.flash.erase(at, size)
            self._erased = self._end
        return OK, b""

    def _store(self, data: bytes) -> tuple[tuple[int, int], bytes]:
        if self._at + len(data) > self._erased and self.stub:
            self.flash.erase(self._erased, self._at + len(data) - self._erased)
            self._erased = -(-(self._at + len(data)) // SECTOR) * SECTOR
        good = self.flash.program(self._at, data)
        self._at += len(data)
        return OK if good else BAD_LENGTH, b""

    def _flash_data(self, data: bytes) -> tuple[tuple[int, int], bytes]:
        room = -(-self._end // SECTOR) * SECTOR - self._at  # the last block comes padded
        return self._store(data[16:][: max(room, 0)])

    def _flash_data_deflated(self, data: bytes) -> tuple[tuple[int, int], bytes]:
        return self._store(self._unpack.decompress(data[16:]))

    def _flash_end(self, data: bytes) -> tuple[tuple[int, int], bytes]:
        if self.stub and struct.unpack("<I", data)[0] == 0:
            self.stub = False  # back to the ROM, with BOOT held
        return OK, b""

    def _md5(self, data: bytes) -> tuple[tuple[int, int], bytes]:
        at, size = struct.unpack_from("<II", data)
        digest = hashlib.md5(self.flash.bytes[at : at + size], usedforsecurity=False)
        return OK, digest.digest() if self.stub else digest.hexdigest().encode()

    def _read_slow(self, data: bytes) -> tuple[tuple[int, int], bytes]:
        at, size = struct.unpack("<II", data)
        return OK, bytes(self.flash.bytes[at : at + min(size, 64)]).ljust(64, b"\0")

    def _read(self, data: bytes) -> bytes:
        at, size = struct.unpack_from("<II", data)
        self._reading = (at, at, at + size)
        return self._answer(0xD2, OK) + self._block()

    def _block(self) -> bytes:
        assert self._reading is not None
        begin, at, end = self._reading
        upto = min(at + SECTOR, end)
        self._reading = (begin, upto, end)
        return self._packed(self.flash.bytes[at:upto])

    def _acknowledged(self, frame: bytes) -> bytes:
        assert self._reading is not None
        begin, at, end = self._reading
        if struct.unpack("<I", frame[:4].ljust(4, b"\0"))[0] != at - begin:
            return b""
        if at < end:
            return self._block()
        self._reading = None
        return self._packed(hashlib.md5(self.flash.bytes[begin:end], usedforsecurity=False).digest())
