"""Frame to model input: the rule as written, and the same bits on CPython and MicroPython."""

import importlib.util
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
APP = ROOT / "device_fw" / "app"


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("firmware_frame", APP / "bsdev" / "frame.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


frame = _load()


def _pixels(data: bytes, fmt: str, size: tuple[int, int], channels: int) -> np.ndarray:
    """The frame as (height, width, channels) by the written rule."""
    w, h = size
    raw = np.frombuffer(data, np.uint8).astype(int)
    if fmt == "gray8":
        g = raw.reshape(h, w, 1)
        return g if channels == 1 else np.repeat(g, 3, axis=2)
    if fmt == "rgb888":
        rgb = raw.reshape(h, w, 3)
    else:
        pair = raw.reshape(h, w, 2)
        v = pair[..., 0] * 256 + pair[..., 1] if fmt == "rgb565" else pair[..., 1] * 256 + pair[..., 0]
        r, g6, b = v >> 11, (v >> 5) & 63, v & 31
        rgb = np.stack([r << 3 | r >> 2, g6 << 2 | g6 >> 4, b << 3 | b >> 2], axis=-1)
    if channels == 3:
        return rgb
    return ((77 * rgb[..., 0] + 150 * rgb[..., 1] + 29 * rgb[..., 2] + 128) >> 8)[..., None]


def _reference(data: bytes, fmt: str, size: tuple[int, int], out: tuple[int, int, int], crop: Any) -> bytes:
    """The area average with fractions."""
    x, y, w, h = crop or frame.centre_crop(size, out)
    source = _pixels(data, fmt, size, out[2])[y : y + h, x : x + w]
    result = []
    for i in range(out[0]):
        for j in range(out[1]):
            total = np.array([Fraction(0)] * out[2])
            for r in range(h):
                dy = min(Fraction(r + 1, h), Fraction(i + 1, out[0])) - max(
                    Fraction(r, h), Fraction(i, out[0])
                )
                for c in range(w):
                    dx = min(Fraction(c + 1, w), Fraction(j + 1, out[1])) - max(
                        Fraction(c, w), Fraction(j, out[1])
                    )
                    if dy > 0 and dx > 0:
                        total = total + source[r, c] * dx * dy
            result += [int(v * out[0] * out[1] + Fraction(1, 2)) for v in total]
    return bytes(result)


FORMATS = ["gray8", "rgb888", "rgb565", "rgb565le"]


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 7), st.integers(1, 7), st.sampled_from([1, 3])),
    st.randoms(use_true_random=False),
)
def test_resize_is_the_area_average(
    fmt: str, size: tuple[int, int], out: tuple[int, int, int], random: Any
) -> None:
    data = random.randbytes(size[0] * size[1] * frame.FORMATS[fmt][0])
    assert frame.resize(data, fmt, size, out) == _reference(data, fmt, size, out, None)


def test_same_bits_on_micropython(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    cases = []
    for fmt in FORMATS:
        for size, out, crop in (
            ((160, 120), (32, 32, 3), None),
            ((160, 120), (28, 28, 1), None),
            ((33, 57), (32, 32, 3), (1, 2, 31, 50)),
            ((20, 20), (48, 40, 3), None),
            ((320, 3), (1, 224, 1), None),
        ):
            data = rng.integers(0, 256, size[0] * size[1] * frame.FORMATS[fmt][0], dtype=np.uint8).tobytes()
            cases.append({"frame": data.hex(), "format": fmt, "size": size, "out": out, "crop": crop})
    extreme = {
        "frame": "ff" * (640 * 480),
        "format": "gray8",
        "size": (640, 480),
        "out": (5, 7, 1),
        "crop": None,
    }
    cases.append(extreme)
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    script = Path(__file__).parent / "firmware_scripts" / "resize.py"
    micropython = Path(sys.executable).with_name("micropython")
    command = [str(micropython), "-X", "heapsize=64m", str(script), str(APP), str(tmp_path / "cases.json")]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    assert len(lines) == len(cases)
    for case, line in zip(cases, lines, strict=True):
        here = frame.resize(
            bytes.fromhex(case["frame"]), case["format"], case["size"], case["out"], case["crop"]
        )
        assert here.hex() == line, case["format"]
    assert lines[-1] == "ff" * 35


def test_identity_and_refusals() -> None:
    data = bytes(range(48))
    assert frame.resize(data, "rgb888", (4, 4), (4, 4, 3)) == data
    for args, words in (
        ((data, "jpeg", (4, 4), (4, 4, 3)), "camera format"),
        ((data, "rgb888", (4, 4), (4, 4, 2)), "channels"),
        ((data, "rgb888", (4, 4), (4, 4, 3), (1, 0, 4, 4)), "leaves the frame"),
        ((data[:-1], "rgb888", (4, 4), (4, 4, 3)), "expected 48"),
    ):
        with pytest.raises(ValueError, match=words):
            frame.resize(*args)
