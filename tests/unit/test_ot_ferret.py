"""Ferret: its parameters against the attacks known, and the native core against known answers on every instruction set."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from blindsight import _native
from blindsight.ot.ferret import STANDARD, estimate, estimate_lpn

CASE = json.loads((Path(__file__).parents[1] / "vectors" / "ferret.json").read_text())


@pytest.fixture(params=_native.isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _native.isa()
    _native.set_isa(request.param)
    yield request.param
    _native.set_isa(before)


def test_parameters_withstand_every_attack_known() -> None:
    costs = estimate(STANDARD)
    assert set(costs) == {"gauss", "stern", "statistical", "algebraic"}
    assert min(costs.values()) >= 140


def test_parameters_cost_less_than_a_bit_a_random_ot() -> None:
    p = STANDARD
    assert 128 * p.trees * p.depth / (p.n - p.k - p.trees * p.depth) < 0.8


@pytest.mark.parametrize(
    ("n", "k", "t", "attack", "worth"),
    [
        (10485760, 452000, 1280, "algebraic", 108),
        (10180608, 124000, 4971, "algebraic", 74),
        (1 << 21, 65536, 1024, "stern", 80),
    ],
)
def test_the_estimate_catches_weak_parameters(n: int, k: int, t: int, attack: str, worth: int) -> None:
    """Negative controls: older sets, chosen before the algebraic attack, and a secret far too short."""
    assert abs(estimate_lpn(n, k, t)[attack] - worth) < 8
    assert min(estimate_lpn(n, k, t).values()) < 128


def ends() -> tuple[_native.FerretSender, _native.FerretReceiver]:
    raw = np.frombuffer(hashlib.shake_256(CASE["seed"].encode()).digest(16 * (32 << 4) + 96), np.uint8).copy()
    leaves, tail = raw[: 16 * (32 << 4)].reshape(32, 16, 16), raw[16 * (32 << 4) :]
    delta, hash_key, keys, seed = tail[:16].copy(), tail[16:32].copy(), tail[32:80].copy(), tail[80:].copy()
    delta[0] |= 1
    part = np.unpackbits(delta, bitorder="little").reshape(32, 4) @ (1 << np.arange(4))
    ordered = np.stack([leaves[g][np.arange(16) ^ part[g]] for g in range(32)])
    size = CASE["trees"], CASE["depth"], CASE["k"]
    sender, receiver = _native.FerretSender(*size, keys, delta, seed), _native.FerretReceiver(*size, keys)
    below = _native.SoftSpokenReceiver(4, leaves.reshape(-1).copy(), hash_key)
    message = np.empty(below.message_bytes(receiver.base_columns, 1), np.uint8)
    receiver.base(below, message)
    sender.base(_native.SoftSpokenSender(4, ordered.reshape(-1), hash_key, delta), message)
    return sender, receiver


def unsliced(planes: np.ndarray) -> np.ndarray:
    bit = np.unpackbits(planes.view(np.uint8), axis=-1, bitorder="little").astype(np.uint32)
    return (bit << np.arange(planes.shape[-2], dtype=np.uint32)[:, None]).sum(axis=-2, dtype=np.uint32)


def digest(a: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(a).astype("<u4").tobytes()).hexdigest()


@pytest.mark.parametrize("kind", ["bits", "ints"])
def test_known_answers_over_three_iterations(isa: str, kind: str) -> None:
    sender, receiver = ends()
    for draw in CASE["draws"]:
        k, w, pairs = draw["k"], draw["w"], draw["pairs"]
        n = 256 * pairs
        shape, dtype = ((w, n // 64), np.uint64) if kind == "bits" else ((n,), np.uint32)
        choice = np.empty((k, n // 64), np.uint64)
        got, pads = np.empty(shape, dtype), np.empty((1 << k, *shape), dtype)
        assert sender.message_bytes(pairs, k) == receiver.message_bytes(pairs, k)
        message = np.empty(sender.message_bytes(pairs, k), np.uint8)
        sender.extend(kind, k, w, n, pads, 0, pairs, message)
        receiver.extend(kind, k, w, n, choice, got, 0, pairs, message)
        if kind == "bits":
            got, pads = unsliced(got), unsliced(pads)
        assert hashlib.sha256(message.tobytes()).hexdigest() == draw["message_sha256"]
        assert digest(unsliced(choice)) == draw["choices_sha256"]
        assert digest(got) == draw["received_sha256"]
        assert digest(pads.T) == draw["pads_sha256"]


def test_wrong_parameters_are_refused() -> None:
    keys, block = np.zeros(48, np.uint8), np.zeros(16, np.uint8)
    with pytest.raises(ValueError, match="Delta has bit 0 set"):
        _native.FerretSender(64, 11, 4096, keys, block, block)
    with pytest.raises(ValueError, match="yield less than they consume"):
        _native.FerretReceiver(4, 8, 1024, keys)
    with pytest.raises(ValueError, match="depth 8 to 20"):
        _native.FerretReceiver(64, 7, 100, keys)
