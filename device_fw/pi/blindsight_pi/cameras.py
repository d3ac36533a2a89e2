"""A Pi's cameras for the firmware: `picamera2` (apt: python3-picamera2) and `folder` (pictures on disk, Pillow).

config.json: {"camera": {"kind": "picamera2", "width": 640, "height": 480}} or {"kind": "folder", "path": "pictures"}.
Both hold a frame as raw bytes, as every camera of the firmware does; cropping and resizing are the firmware's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pgm", ".ppm", ".gif"}


class Held:
    """A camera whose frame lies in memory."""

    def __init__(self, fmt: str, size: tuple[int, int]) -> None:
        self.format, self.size = fmt, size
        self.frame = b""

    def read_into(self, buf: Any, offset: int) -> None:
        part = memoryview(self.frame)[offset : offset + len(buf)]
        if len(part) != len(buf):
            raise OSError("the camera gave a short frame")
        buf[:] = part

    def release(self) -> None:
        self.frame = b""


class Folder(Held):
    """The pictures of a folder in order of their names, again from the first after the last; each is cropped to the
    model's aspect ratio and reduced to its size as it is taken.
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int]) -> None:
        super().__init__("gray8" if shape[2] == 1 else "rgb888", (shape[1], shape[0]))
        try:
            from PIL import Image
        except ImportError:
            raise ValueError("camera.kind folder needs Pillow: pip install blindsight-pi[folder]") from None
        self._open: Callable[..., Any] = Image.open
        self._shape = shape
        self.files = sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES)
        if not self.files:
            raise ValueError(f"camera.path {folder}: no pictures there")

    def capture(self, index: int) -> None:
        from bsdev.frame import resize

        path = self.files[index % len(self.files)]
        with self._open(path) as image:  # a file that is no picture raises an OSError: the firmware skips it
            pixels = image.convert("L" if self._shape[2] == 1 else "RGB")
            self.frame = resize(pixels.tobytes(), self.format, pixels.size, self._shape)


class PiCamera(Held):
    """The Pi's camera through libcamera. `BGR888` is libcamera's name for bytes in the order R, G, B."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__("rgb888", size)
        try:
            from picamera2 import Picamera2
        except ImportError:
            raise ValueError(
                "camera.kind picamera2 needs the package: apt install python3-picamera2"
            ) from None
        self._camera = Picamera2()
        self._camera.configure(
            self._camera.create_still_configuration(main={"size": size, "format": "BGR888"})
        )
        self._camera.start()

    def capture(self, index: int) -> None:
        self.frame = self._camera.capture_array("main").tobytes()


def maker(other: Callable[..., Any]) -> Callable[..., Any]:
    """camera.make of the firmware with the two kinds added."""

    def make(options: dict[str, Any], shape: tuple[int, int, int], directory: str) -> Any:
        kind = options.get("kind")
        if kind == "folder":
            return Folder(Path(directory) / options.get("path", "pictures"), shape)
        if kind == "picamera2":
            return PiCamera((options.get("width", 640), options.get("height", 480)))
        return other(options, shape, directory)

    return make
