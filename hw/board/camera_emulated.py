# mypy: ignore-errors
"""The module `camera` of a firmware with micropython-camera-API, for a board that is not there: a still scene.

The scene is the raw RGB565 frame (QVGA, high byte first) in the host's file `scene`, else a gradient.
"""


class PixelFormat:
    RGB565, GRAYSCALE = range(2)


class FrameSize:
    QQVGA, QVGA = (160, 120), (320, 240)


def gradient(width, height):
    out = bytearray(2 * width * height)
    for i in range(0, len(out), 2):
        out[i] = (i * 256 // len(out)) & 0xF8
    return out


def make(host, path):
    """The class `Camera` of the module, its scene in `path` of the host."""

    class Camera:
        def __init__(self, pixel_format, frame_size, **pins):
            if pixel_format != PixelFormat.RGB565:
                raise ValueError("the emulated sensor gives RGB565")
            self.pixel_width, self.pixel_height = frame_size

        def capture(self):
            try:
                with host.open(path, "rb") as f:
                    return f.read(2 * self.pixel_width * self.pixel_height)
            except OSError:
                return gradient(self.pixel_width, self.pixel_height)

        def free_buffer(self):
            pass

    return Camera
