"""Run by MicroPython: the real firmware, killed with SIGKILL just before its k-th durable or network operation.

argv: device directory, app directory, k (0: never). Counted: every file opened for writing, written, renamed or
removed by the store, and every write to the broker. Nothing of the firmware is changed but these calls' arrival.
"""

import os
import sys

APP, K = sys.argv[2], int(sys.argv[3])
sys.path.insert(0, APP)
from bsdev import hold, mqtt, store

count = [0]


def step():
    count[0] += 1
    if count[0] == K:
        os.system("kill -9 $PPID")
        while True:
            pass


class File:
    """A file whose writes are counted."""

    def __init__(self, path, mode):
        self.f = open(path, mode)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.f.close()

    def write(self, data):
        step()
        return self.f.write(data)


class Os:
    stat, statvfs, mkdir, listdir = os.stat, os.statvfs, os.mkdir, os.listdir

    @staticmethod
    def rename(a, b):
        step()
        os.rename(a, b)

    @staticmethod
    def remove(a):
        os.stat(a)
        step()
        os.remove(a)

    @staticmethod
    def rmdir(a):
        step()
        os.rmdir(a)


def opening(path, mode="r"):
    if "w" in mode:
        step()
        return File(path, mode)
    return open(path, mode)


store.os = hold.os = Os
store.open = hold.open = opening
write = mqtt.Link._write


def counted(self, data):
    step()
    return write(self, data)


mqtt.Link._write = counted
sys.argv[:] = ["main.py", sys.argv[1]]
import main  # noqa: F401
