"""Run by MicroPython: the real firmware on a flash that fills up, or that refuses one file.

argv: device directory, app directory, KiB of flash for held and waiting pictures (0: plenty), which opening of a held
picture for writing fails (0: none), with which errno.
"""

import os
import sys

HERE, APP = sys.argv[1], sys.argv[2]
FLASH, NTH, ERRNO = (int(word) for word in sys.argv[3:6])
BLOCK = 4096
sys.path.insert(0, APP)
from bsdev import hold, store

opened = [0]


def free():
    """Bytes left, as on a file system of whole blocks."""
    if not FLASH:
        return 1 << 24
    used = 0
    for folder in ("held", "pictures"):
        if folder in os.listdir(HERE):
            for name in os.listdir(HERE + "/" + folder):
                used += -(-os.stat(HERE + "/" + folder + "/" + name)[6] // BLOCK) * BLOCK
    return FLASH * 1024 - used


class File:
    """A file that runs out of flash."""

    def __init__(self, path):
        if free() <= 0:
            raise OSError(28)
        self.f = open(path, "wb")

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.f.close()

    def write(self, data):
        if free() < 0:
            raise OSError(28)
        n = self.f.write(data)
        self.f.flush()
        return n


class Os:
    stat, mkdir, listdir, rename, remove = os.stat, os.mkdir, os.listdir, os.rename, os.remove

    @staticmethod
    def statvfs(path):
        blocks = free() // BLOCK
        return (BLOCK, BLOCK, 1024, blocks, blocks)


def opening(path, mode="r"):
    if mode != "wb":
        return open(path, mode)
    if "/held/" in path:
        opened[0] += 1
        if opened[0] == NTH:
            raise OSError(ERRNO)
    return File(path)


store.os = hold.os = Os
store.open = hold.open = opening
sys.argv[:] = ["main.py", HERE]
import main  # noqa: F401
