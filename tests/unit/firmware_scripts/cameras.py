"""Run by MicroPython: the camera interface of replay and synthetic. argv: app directory, scratch directory."""

import os
import sys

sys.path.insert(0, sys.argv[1])
from bsdev import camera

frames = os.urandom(3 * 4 * 2 * 2)  # three rgb565 frames of 4x2
with open(sys.argv[2] + "/frames.bin", "wb") as f:
    f.write(frames)
options = {"kind": "replay", "format": "rgb565", "width": 4, "height": 2}
cam = camera.make(options, (28, 28, 1), sys.argv[2])
assert (cam.format, cam.size, cam.frame_bytes) == ("rgb565", (4, 2), 16)
for index in (0, 1, 2, 3, 7):
    buf = bytearray(16)
    assert cam.capture_into(buf, index) == 16
    want = frames[16 * (index % 3) :][:16]
    assert buf == want
    part = bytearray(5)
    cam.read_into(part, 9)
    assert part == want[9:14]
    assert cam.capture_into(bytearray(3), index) == 3, "a smaller buffer takes the beginning"
    big = bytearray(40)
    assert cam.capture_into(big, index) == 16 and big[:16] == want and not any(big[16:])
    cam.release()

cam = camera.make({"kind": "synthetic"}, (5, 6, 3), "")
assert (cam.format, cam.size) == ("rgb888", (6, 5))
a, b = bytearray(90), bytearray(90)
assert cam.capture_into(a, 3) == 90 and cam.capture_into(b, 4) == 90 and a != b
assert a == bytes((j * j // 7 + 31 * j + 51) & 255 for j in range(90))
for bad in ({"kind": "x"}, {"kind": "synthetic", "format": "yuv"}, {"kind": "replay", "path": "none"}):
    try:
        camera.make(bad, (4, 4, 1), sys.argv[2])
    except ValueError as e:
        assert "camera" in str(e)
    else:
        raise AssertionError(bad)
print("ok")
