"""The camera of an ESP32 board."""

import camera

from bsdev.camera import Camera


class Esp32(Camera):
    """The `camera` module of micropython-camera-API firmware builds (OV2640, OV5640), in RGB565 or greyscale.

    Written to that module's published interface (Camera, capture, free_buffer, pixel_width, pixel_height);
    not yet run on a sensor. options: {"format": "rgb565"|"gray8", "frame_size": "QVGA", "pins": {constructor
    keywords}}.
    """

    def __init__(self, options):
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
