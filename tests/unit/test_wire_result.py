"""Receipt, result, failure and the sealed share."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindsight.wire import WireError, keys, result

VECTORS = Path(__file__).parents[1] / "vectors"
KEYS = json.loads((VECTORS / "device_keys.json").read_text())
PICTURES = json.loads((VECTORS / "device_picture.json").read_text())["pictures"]
CASES = json.loads((VECTORS / "wire_messages.json").read_text())["cases"]


def context(case: dict) -> result.Context:  # type: ignore[type-arg]
    return result.Context(
        KEYS["device"],
        bytes.fromhex(case["image"]),
        bytes.fromhex(case["manifest_hash"]),
        bytes.fromhex(case["plan_hash"]),
        result.Reveal(case["reveal"]),
        case["attempt"],
    )


@pytest.mark.parametrize("case", CASES, ids=lambda c: str(c["picture"]))
def test_known_answers(case: dict) -> None:  # type: ignore[type-arg]
    ctx = context(case)
    assert ctx.aad().hex() == case["aad"]
    base = bytes.fromhex(PICTURES[case["picture"]]["key_bytes"] or KEYS["result_base"])
    key = keys.result_key(base, ctx.device, ctx.image, ctx.manifest_hash)
    assert key.hex() == case["result_key"]
    got = result.parse(bytes.fromhex(case["message"]))
    assert isinstance(got, result.Result)
    assert (got.attempt, got.reveal) == (case["attempt"], case["reveal"])
    assert result.combine(got.share, result.open_sealed(key, ctx, got.sealed)).tolist() == case["values"]
    assert got.encode().hex() == case["message"]
    assert result.parse(bytes.fromhex(case["receipt"])) == result.Receipt(ctx.manifest_hash)
    failure = result.parse(bytes.fromhex(case["failure"]))
    assert failure == result.Failure(result.FailureCode.QUOTA, "quota of the day is used up")
    assert failure.encode().hex() == case["failure"]


@pytest.mark.parametrize(
    "change",
    [
        {"device": "cam-02"},
        {"image": bytes(16)},
        {"manifest_hash": bytes(32)},
        {"plan_hash": bytes(32)},
        {"reveal": result.Reveal.LOGITS},
        {"attempt": 8},
    ],
    ids=lambda c: next(iter(c)),
)
def test_a_share_belongs_to_one_context(change: dict) -> None:  # type: ignore[type-arg]
    ctx, key = context(CASES[0]), bytes.fromhex(CASES[0]["result_key"])
    sealed = bytes.fromhex(CASES[0]["sealed"])
    with pytest.raises(WireError, match="does not open"):
        result.open_sealed(key, dataclasses.replace(ctx, **change), sealed)
    with pytest.raises(WireError, match="does not open"):
        result.open_sealed(bytes(32), ctx, sealed)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20))
def test_seal_and_open(values: list[int]) -> None:
    ctx, key, share = context(CASES[0]), bytes(range(32)), np.array(values, np.uint32)
    one, two = result.seal(key, ctx, share), result.seal(key, ctx, share)
    assert one[:24] != two[:24] and len(one) == result.sealed_bytes(len(values))
    np.testing.assert_array_equal(result.open_sealed(key, ctx, one), share)
    message = result.Result(3, result.Reveal.LOGITS, share, one)
    back = result.parse(message.encode())
    assert isinstance(back, result.Result) and back.sealed == one and back.share.tolist() == values


@given(st.binary(max_size=200))
def test_bytes_from_nowhere(data: bytes) -> None:
    for message in (data, b"\x02\x01" + data, b"\x03\x01" + data):
        try:
            parsed = result.parse(message)
        except WireError:
            continue
        assert parsed.encode() == message


@given(st.integers(0, len(bytes.fromhex(CASES[0]["message"])) - 1))
def test_cut_short(length: int) -> None:
    with pytest.raises(WireError):
        result.parse(bytes.fromhex(CASES[0]["message"])[:length])


def test_reasons_are_cut_to_fit() -> None:
    message = result.Failure(result.FailureCode.BLOCK, "ü" * 500).encode()
    assert len(message) < 256 and isinstance(result.parse(message), result.Failure)


def test_reveal_names() -> None:
    assert result.Reveal.named("top1") is result.Reveal.TOP1
    with pytest.raises(WireError, match="reveal mode"):
        result.Reveal.named("all")
