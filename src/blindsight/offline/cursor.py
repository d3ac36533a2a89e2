"""The durable cursor: which slot index is the first that was never touched.

An append-only file of 12-byte records (`u64` next index, `u32` CRC-32 of it). A burn is written and fsynced before it returns, so no byte
that depends on a slot can exist before the slot is burnt, whatever is killed or loses power when. A torn last record is ignored: its burn
never returned. The highest valid record counts, never the last, so a reordered or restored tail cannot move the cursor back.
"""

import os
import struct
import zlib
from pathlib import Path

_RECORD = struct.Struct("<QI")


def read_cursor(path: Path) -> int:
    """The first index never burnt, from the file alone."""
    data, highest = path.read_bytes(), 0
    for at in range(0, len(data) - _RECORD.size + 1, _RECORD.size):
        index, crc = _RECORD.unpack_from(data, at)
        if crc == zlib.crc32(data[at : at + 8]):
            highest = max(highest, index)
    return highest


class Cursor:
    """One party's cursor of one pool. `next` is the first unburnt index."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "ab+", buffering=0)  # noqa: SIM115 - held open as long as the cursor lives
        size = os.fstat(self._file.fileno()).st_size
        self.next = read_cursor(path)
        if torn := size % _RECORD.size:
            self._file.truncate(size - torn)
        _sync_folder(path.parent)

    def burn_to(self, index: int) -> None:
        """Durably declare every slot below `index` used. Never moves back."""
        if index <= self.next:
            return
        body = struct.pack("<Q", index)
        if self._file.write(body + struct.pack("<I", zlib.crc32(body))) != _RECORD.size:
            raise OSError("the cursor could not be written whole: is the disk full?")
        os.fsync(self._file.fileno())
        self.next = index

    def close(self) -> None:
        self._file.close()


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_durably(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file so that after a power cut it is there whole or not at all."""
    temporary = path.with_name(path.name + ".part")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        view = memoryview(data)
        while view.nbytes:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(temporary, path)
    _sync_folder(path.parent)
