"""Run by MicroPython: the real firmware in a heap whose every hole is at most 8 KiB. argv: device directory, app.

Whoever asks for one piece larger than that gets a MemoryError. Small pinned objects between the holes never move.
"""

import gc
import sys

import micropython

HOLE = 8192


def pin():
    """Fill the heap with one-block tuples in ascending order, then let go of all but every 257th."""
    fill = pins = None
    i = 0
    try:
        while True:
            i += 1
            if i % (HOLE // 32 + 1):
                fill = (fill,)
            else:
                pins = (pins,)
    except MemoryError:
        pass
    return pins


kept = pin()
gc.collect()
try:
    bytearray(HOLE + 256)
    raise SystemExit("a larger piece was free: this heap proves nothing")
except MemoryError:
    pass
bytearray(HOLE - 64)
micropython.mem_info()
sys.path.insert(0, sys.argv[2])
sys.argv[:] = ["main.py", sys.argv[1]]
import main  # noqa: F401
