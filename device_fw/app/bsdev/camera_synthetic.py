"""Frames made of arithmetic: a camera for boards without one."""

from bsdev.camera import Camera


class Synthetic(Camera):
    """A moving pattern made of integers: byte i of frame n is (i*i//7 + 31*i + 17*n) mod 256."""

    def __init__(self, fmt, size):
        super().__init__(fmt, size)
        self._index = 0

    def capture(self, index):
        self._index = index

    def read_into(self, buf, offset):
        for i in range(len(buf)):
            j = offset + i
            buf[i] = (j * j // 7 + 31 * j + 17 * self._index) & 0xFF
