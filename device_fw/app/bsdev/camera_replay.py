"""Recorded frames, for tests, demos and the bench."""

from bsdev.camera import Camera


class Replay(Camera):
    """Raw frames from a file, one after another; past the last it starts again at the first."""

    def __init__(self, fmt, size, path):
        super().__init__(fmt, size)
        self.path = path
        self._file = None
        self.base = 0
        try:
            self.capture(0)
        except OSError as e:
            raise ValueError("camera.path " + path + ": " + str(e))
        self.release()

    def capture(self, index):
        self._file = open(self.path, "rb")
        frames = self._file.seek(0, 2) // self.frame_bytes
        if not frames:
            raise OSError(self.path + " holds no whole frame of " + str(self.frame_bytes) + " bytes")
        self.base = index % frames * self.frame_bytes

    def read_into(self, buf, offset):
        self._file.seek(self.base + offset)
        if self._file.readinto(buf) != len(buf):
            raise OSError("short read from " + self.path)

    def release(self):
        if self._file:
            self._file.close()
            self._file = None
