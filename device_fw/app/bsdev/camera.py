"""Cameras. Each has `format` (a key of frame.FORMATS), `size` (width, height) and

    capture(index)            take frame number `index` and hold it still
    read_into(buf, offset)    copy a part of the held frame
    capture_into(buf, index)  capture, then fill buf from the frame's first byte; returns the bytes written
    release()                 let go of the frame

so that a frame larger than RAM streams through a row buffer. Raw formats only: a board decodes no JPEG.
"""

from bsdev.frame import FORMATS


class Camera:
    def __init__(self, fmt, size):
        if fmt not in FORMATS:
            raise ValueError("camera format " + str(fmt) + ": use one of " + ", ".join(sorted(FORMATS)))
        self.format = fmt
        self.size = size
        self.frame_bytes = size[0] * size[1] * FORMATS[fmt][0]

    def capture_into(self, buf, index=0):
        self.capture(index)
        n = min(len(buf), self.frame_bytes)
        self.read_into(memoryview(buf)[:n], 0)
        return n

    def release(self):
        pass


class Replay(Camera):
    """Raw frames from a file, one after another; past the last it starts again at the first."""

    def __init__(self, fmt, size, path):
        super().__init__(fmt, size)
        self._path = path
        self._file = None
        self._base = 0

    def capture(self, index):
        self._file = open(self._path, "rb")
        frames = self._file.seek(0, 2) // self.frame_bytes
        if not frames:
            raise OSError(self._path + " holds no whole frame of " + str(self.frame_bytes) + " bytes")
        self._base = index % frames * self.frame_bytes

    def read_into(self, buf, offset):
        self._file.seek(self._base + offset)
        if self._file.readinto(buf) != len(buf):
            raise OSError("short read from " + self._path)

    def release(self):
        if self._file:
            self._file.close()
            self._file = None


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


class Esp32(Camera):
    """The `camera` module of micropython-camera-API firmware builds (OV2640, OV5640), in RGB565 or greyscale.

    Written to that module's published interface (Camera, capture, free_buffer, pixel_width, pixel_height); not yet
    run on a sensor. options: {"format": "rgb565"|"gray8", "frame_size": "QVGA", "pins": {constructor keywords}}.
    """

    def __init__(self, options):
        import camera

        fmt = options.get("format", "rgb565")
        kinds = {"rgb565": camera.PixelFormat.RGB565, "gray8": camera.PixelFormat.GRAYSCALE}
        if fmt not in kinds:
            raise ValueError("camera.format for kind esp32 is rgb565 or gray8")
        self._sensor = camera.Camera(
            pixel_format=kinds[fmt],
            frame_size=getattr(camera.FrameSize, options.get("frame_size", "QVGA")),
            **options.get("pins", {}),
        )
        super().__init__(fmt, (self._sensor.pixel_width, self._sensor.pixel_height))
        self._frame = None

    def capture(self, index):
        frame = self._sensor.capture()
        if not frame or len(frame) < self.frame_bytes:
            raise OSError("the camera gave no frame: check its ribbon and pins")
        self._frame = memoryview(frame)

    def read_into(self, buf, offset):
        buf[:] = self._frame[offset : offset + len(buf)]

    def release(self):
        self._frame = None
        self._sensor.free_buffer()


def make(options, shape, directory):
    """The camera that config.json names. options: its `camera` object; shape: the model's (height, width, channels)."""
    kind = options.get("kind", "replay")
    if kind == "esp32":
        return Esp32(options)
    fmt = options.get("format", "gray8" if shape[2] == 1 else "rgb888")
    size = (options.get("width", shape[1]), options.get("height", shape[0]))
    if kind == "synthetic":
        return Synthetic(fmt, size)
    if kind == "replay":
        path = options.get("path", "frames.bin")
        return Replay(fmt, size, path if path.startswith("/") else directory + "/" + path)
    raise ValueError("camera.kind " + str(kind) + ": use replay, synthetic or esp32")
