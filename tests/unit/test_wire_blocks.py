"""The cut of a picture: sizes and positions against the device's known answers and against the rules of
docs/wire.md.
"""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindsight.wire import WireError
from blindsight.wire.blocks import Layout, Mode, commitment

VECTORS = Path(__file__).parents[1] / "vectors"
PICTURES = json.loads((VECTORS / "device_picture.json").read_text())["pictures"]


@pytest.mark.parametrize("picture", PICTURES, ids=lambda p: f"{p['mode']}-{len(p['pixels']) // 2}")
def test_known_pictures(picture: dict) -> None:  # type: ignore[type-arg]
    layout = Layout(Mode.named(picture["mode"]), len(picture["pixels"]) // 2, picture["polys_per_block"])
    blocks = [bytes.fromhex(b) for b in picture["blocks"]]
    assert [layout.block_bytes(i) for i in range(layout.blocks)] == [len(b) for b in blocks]
    salt = bytes.fromhex(picture["salt"])
    assert [commitment(salt, i, b).hex() for i, b in enumerate(blocks)] == picture["commitments"]
    if layout.mode is not Mode.AES:
        assert [layout.c1_hash(layout.split(i, b)).hex() for i, b in enumerate(blocks)] == picture[
            "c1_hashes"
        ]


def test_sizes_of_the_design() -> None:
    assert Layout(Mode.RLWE, 1024, 1).poly_bytes(0) == 3840
    assert Layout(Mode.RLWE_SK, 1024, 1).poly_bytes(0) == 32 + 1408
    assert Layout(Mode.RLWE, 224 * 224 * 3, 16).polys == 148  # 147 full ones and one for the key


@given(st.sampled_from(list(Mode)), st.integers(1, 200_000), st.integers(1, 16))
def test_cut_is_consistent(mode: Mode, pixels: int, per_block: int) -> None:
    layout = Layout(mode, pixels, per_block)
    assert sum(layout.pixels_in(p) for p in range(layout.polys)) == pixels
    assert sum(layout.used(p) for p in range(layout.polys)) == pixels + (32 if mode is Mode.RLWE else 0)
    assert all(0 < layout.used(p) <= 1024 for p in range(layout.polys))
    assert [p for b in range(layout.blocks) for p in layout.polys_of(b)] == list(range(layout.polys))
    assert all(0 < layout.block_bytes(b) < 65536 for b in range(layout.blocks))
    key = layout.key_span
    assert (key is None) == (mode is not Mode.RLWE)
    if key is not None:
        assert key.poly == layout.polys - 1
        assert key.start == layout.pixels_in(key.poly)


def test_refusals() -> None:
    layout = Layout(Mode.RLWE, 784, 1)
    for block, size in (
        (0, 0),
        (0, layout.block_bytes(0) - 1),
        (0, 65536),
        (1, layout.block_bytes(0)),
        (-1, 10),
    ):
        with pytest.raises(WireError):
            layout.split(block, bytes(size))
    for pixels, per_block in ((0, 1), ((1 << 24) + 1, 1), (784, 0), (784, 17)):
        with pytest.raises(WireError):
            Layout(Mode.RLWE, pixels, per_block)
    with pytest.raises(WireError, match="masked"):
        layout.split_masked(bytes(5))
    with pytest.raises(WireError, match="ingest mode"):
        Mode.named("rsa")


def test_masked_sizes() -> None:
    layout = Layout(Mode.RLWE, 784, 1)
    assert layout.masked_bytes(0) == 2304 + (816 * 26 + 7) // 8
    assert Layout(Mode.AES, 784, 1).masked_bytes(0) == 0
