"""A look-alike of micropython-camera-API's `camera`: frames of arithmetic, buffers that must be handed back."""


class PixelFormat:
    RGB565, GRAYSCALE = 0, 3


class FrameSize:
    QQVGA, QVGA = 1, 6


class Camera:
    sizes = {1: (160, 120), 6: (320, 240)}

    def __init__(self, pixel_format, frame_size, **pins):
        assert pins == {"sda_pin": 11}
        self.pixel_width, self.pixel_height = self.sizes[frame_size]
        self._bytes = self.pixel_width * self.pixel_height * (2 if pixel_format == 0 else 1)
        self._out = self._count = 0

    def capture(self):
        assert not self._out, "captured before free_buffer"
        self._out = 1
        self._count += 1
        if self._count == 1:
            return None  # a first frame that never came
        return memoryview(bytes((i * i // 5 + 3 * i + self._count) & 255 for i in range(self._bytes)))

    def free_buffer(self):
        self._out = 0
