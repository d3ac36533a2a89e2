"""Manifests: known answers, tampering, and bytes from nowhere."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindsight.wire import WireError, manifest
from blindsight.wire.blocks import Mode

VECTORS = Path(__file__).parents[1] / "vectors"
KEYS = json.loads((VECTORS / "device_keys.json").read_text())
CASES = json.loads((VECTORS / "wire_messages.json").read_text())["cases"]
KEY = bytes.fromhex(KEYS["manifest_key"])
GOOD = bytes.fromhex(CASES[0]["manifest"])


@pytest.mark.parametrize("case", CASES, ids=lambda c: str(c["picture"]))
def test_known_answers(case: dict) -> None:  # type: ignore[type-arg]
    data, salt = manifest.split_salt(bytes.fromhex(case["payload"]))
    assert data.hex() == case["manifest"] and len(salt) == 32
    parsed = manifest.parse(data)
    assert (parsed.device, parsed.image.hex(), parsed.model) == (KEYS["device"], case["image"], "mnist")
    assert parsed.encode(KEY) == data
    assert manifest.verify(data, KEY)
    assert manifest.manifest_hash(data).hex() == case["manifest_hash"]


@given(st.integers(0, len(GOOD) * 8 - 1))
def test_no_bit_may_change(bit: int) -> None:
    data = bytearray(GOOD)
    data[bit // 8] ^= 1 << bit % 8
    assert not manifest.verify(bytes(data), KEY)


def test_another_key_is_refused() -> None:
    assert not manifest.verify(GOOD, bytes(32))
    assert not manifest.verify(GOOD[-32:], KEY)
    assert not manifest.verify(b"", KEY)


@given(st.integers(0, len(GOOD) - 1))
def test_cut_short(length: int) -> None:
    with pytest.raises(WireError):
        manifest.parse(GOOD[:length])


def test_bytes_too_many() -> None:
    with pytest.raises(WireError):
        manifest.parse(GOOD + b"\x00")


@given(st.binary(max_size=400))
def test_bytes_from_nowhere(tail: bytes) -> None:
    for data in (tail, b"BSM\x01" + tail, GOOD[: len(tail)] + tail):
        try:
            parsed = manifest.parse(data)
        except WireError:
            continue
        assert data == GOOD or parsed.body() == data[:-32]


def test_version_and_magic_are_named() -> None:
    with pytest.raises(WireError, match="version 2"):
        manifest.parse(b"BSM\x02" + GOOD[4:])
    with pytest.raises(WireError, match="BSM"):
        manifest.parse(b"XYZ\x01" + GOOD[4:])


@pytest.mark.parametrize(
    "change",
    [
        {"height": 31},
        {"width": 0},
        {"channels": 1},
        {"polys_per_block": 1},
        {"nonce": b"\x01" * 12},
        {"nonce": b""},
        {"mode": Mode.AES},
        {"device": "Cam"},
        {"model": ""},
        {"key_id": bytes(7)},
        {"commitments": ()},
        {"c1_hashes": ()},
        {"commitments": (bytes(31), bytes(32))},
    ],
    ids=lambda c: next(iter(c)),
)
def test_fields_must_fit_together(change: dict) -> None:  # type: ignore[type-arg]
    with pytest.raises(WireError):
        dataclasses.replace(manifest.parse(GOOD), **change)


def test_salt_needs_room() -> None:
    with pytest.raises(WireError, match="short"):
        manifest.split_salt(bytes(64))
