"""The native extension against known answers written from the definition (tests/vectors/make_ot.py), on every instruction set."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blindsight import _native
from blindsight.ot.softspoken import _grow, _grow_punctured

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "softspoken.json").read_text())


@pytest.fixture(params=_native.isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _native.isa()
    _native.set_isa(request.param)
    yield request.param
    _native.set_isa(before)


def ends(seed: str, ext: int) -> tuple[_native.SoftSpokenReceiver, _native.SoftSpokenSender]:
    groups = 128 // ext
    raw = np.frombuffer(hashlib.shake_256(seed.encode()).digest(16 * (groups << ext) + 32), np.uint8)
    leaves, delta, hash_key = raw[:-32].reshape(groups, 1 << ext, 16), raw[-32:-16], raw[-16:]
    part = np.unpackbits(delta, bitorder="little").reshape(groups, ext) @ (1 << np.arange(ext))
    seeds = np.stack([leaves[g][np.arange(1 << ext) ^ part[g]] for g in range(groups)])
    seeds[:, 0] = 0x55  # what the sender does not know must not matter
    receiver = _native.SoftSpokenReceiver(ext, leaves.reshape(-1).copy(), hash_key.copy())
    return receiver, _native.SoftSpokenSender(ext, seeds.reshape(-1), hash_key.copy(), delta.copy())


def unsliced(planes: np.ndarray) -> np.ndarray:
    """uint64 [..., w, W] -> uint32 [..., 64 W]"""
    bit = np.unpackbits(planes.view(np.uint8), axis=-1, bitorder="little").astype(np.uint32)
    return (bit << np.arange(planes.shape[-2], dtype=np.uint32)[:, None]).sum(axis=-2, dtype=np.uint32)


@pytest.mark.parametrize("kind", ["bits", "ints"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c["seed"])
def test_known_answers(isa: str, case: dict[str, Any], kind: str) -> None:
    k, w, pairs = case["k"], case["w"], case["pairs"]
    n = 256 * pairs
    receiver, sender = ends(case["seed"], case["extension_k"])
    message = np.empty(receiver.message_bytes(pairs, k), np.uint8)
    choice = np.empty((k, n // 64), np.uint64)
    shape, dtype = ((w, n // 64), np.uint64) if kind == "bits" else ((n,), np.uint32)
    got, pads = np.empty(shape, dtype), np.empty((1 << k, *shape), dtype)
    receiver.extend(kind, k, w, n, choice, got, 0, pairs, message)
    sender.extend(kind, k, w, n, pads, 0, pairs, message)
    if kind == "bits":
        got, pads = unsliced(got), unsliced(pads)

    def digest(a: np.ndarray) -> str:
        return hashlib.sha256(np.ascontiguousarray(a).astype("<u4").tobytes()).hexdigest()

    assert hashlib.sha256(message.tobytes()).hexdigest() == case["message_sha256"]
    assert digest(unsliced(choice)) == case["choices_sha256"]
    assert digest(got) == case["received_sha256"]
    assert pads[:, 0].tolist() == case["first_pads"]
    assert digest(pads.T) == case["pads_sha256"]


def test_ranges_and_lengths_are_checked() -> None:
    receiver, sender = ends("lengths", 4)
    pads, message = np.empty((2, 1, 5), np.uint64), np.empty(receiver.message_bytes(2, 1), np.uint8)
    with pytest.raises(ValueError, match="leaves the array"):
        sender.extend("bits", 1, 1, 300, pads, 1, 2, message)
    with pytest.raises(ValueError, match="message holds"):
        sender.extend("bits", 1, 1, 300, pads, 0, 2, message[:-1].copy())
    with pytest.raises(ValueError, match="pads holds"):
        sender.extend("bits", 1, 2, 300, pads, 0, 2, message)
    with pytest.raises(ValueError, match="kind is bits or ints"):
        sender.extend("words", 1, 1, 300, pads, 0, 2, message)
    with pytest.raises(ValueError, match="choice holds"):
        receiver.extend(
            "bits", 1, 1, 300, np.empty((1, 4), np.uint64), np.empty((1, 5), np.uint64), 0, 2, message
        )
    with pytest.raises(ValueError, match="k is 1, 2, 4 or 8, not 3"):
        _native.SoftSpokenReceiver(3, np.zeros(16, np.uint8), np.zeros(16, np.uint8))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_punctured_tree_lacks_exactly_one_leaf(depth: int) -> None:
    root = np.arange(16, dtype=np.uint8)
    leaves, sums = _grow(root, depth)
    for missing in {0, 1, (1 << depth) - 1, (1 << depth) // 3}:
        side = [1 - (missing >> (depth - 1 - level) & 1) for level in range(depth)]
        got = _grow_punctured(missing, depth, sums[np.arange(depth), side])
        expected = leaves.copy()
        expected[missing] = got[missing]
        assert np.array_equal(got, expected)
        assert not np.array_equal(got[missing], leaves[missing])
