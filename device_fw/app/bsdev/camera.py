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


def make(options, shape, directory):
    """The camera that config.json names. options: its `camera` object; shape: the model's (height, width,
    channels)."""
    kind = options.get("kind", "replay")
    if kind == "esp32":
        from bsdev.camera_esp32 import Esp32

        return Esp32(options)
    fmt = options.get("format", "gray8" if shape[2] == 1 else "rgb888")
    size = (options.get("width", shape[1]), options.get("height", shape[0]))
    if kind == "synthetic":
        from bsdev.camera_synthetic import Synthetic

        return Synthetic(fmt, size)
    if kind == "replay":
        from bsdev.camera_replay import Replay

        path = options.get("path", "frames.bin")
        return Replay(fmt, size, path if path.startswith("/") else directory + "/" + path)
    raise ValueError("camera.kind " + str(kind) + ": use replay, synthetic or esp32")
