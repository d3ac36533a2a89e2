"""The messages between the workers: round trips, and what must be refused."""

import dataclasses
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blindsight.wire import WireError, jobs

INFER = jobs.Infer("cam", bytes(16), 1, "mnist", bytes(32), bytes(32), 0, 200, 4000)
SEAL = jobs.Seal("cam", bytes(range(16)), 7)
MAKE = jobs.MakeMaterial("mnist", bytes(32), bytes(32), "mask", bytes(16), 16, 16)
POOL = jobs.Pool("mnist", bytes(32), bytes(32), "xor", 5, (("0" * 32, 5, 16),))


@pytest.mark.parametrize("request_", [INFER, SEAL, MAKE, POOL], ids=lambda r: r.OP)
def test_round_trip(request_: Any) -> None:
    assert jobs.parse_request(request_.to_json()) == request_


def test_ping() -> None:
    assert jobs.parse_request(jobs.PING) is None


BAD: list[tuple[str, Any]] = [
    ("device", "CAM"), ("device", 5), ("image", "00"), ("image", None), ("attempt", 0), ("attempt", True),
    ("attempt", 1.0), ("attempt", 2**32), ("model", ""), ("plan_hash", "0" * 63), ("plan_hash", "A" * 64),
    ("slot", -1), ("slot", "0"), ("manifest", 0), ("manifest", 1 << 24), ("polys", -1), ("polys", 1 << 28),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), BAD, ids=lambda v: repr(v)[:20])
def test_fields_are_checked(field: str, value: Any) -> None:
    with pytest.raises(WireError):
        jobs.parse_request({**INFER.to_json(), field: value})


@pytest.mark.parametrize(
    "batches", [None, "", [1], [["0" * 32, 0]], [["0" * 31, 0, 1]], [["0" * 32, -1, 1]], [["0" * 32, 0, 17]]]
)
def test_batches_are_checked(batches: Any) -> None:
    with pytest.raises(WireError):
        jobs.parse_request({**POOL.to_json(), "batches": batches})


def test_missing_fields_and_ops() -> None:
    for field in INFER.to_json():
        with pytest.raises(WireError):
            jobs.parse_request({k: v for k, v in INFER.to_json().items() if k != field})


HEX16, HEX32 = st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32)
BIG, SLOTS = (
    st.sampled_from([0, 2**53]) | st.integers(0, 2**53),
    st.sampled_from([1, 16]) | st.integers(1, 16),
)
DEVICE = st.from_regex(r"[a-z0-9-]{1,32}", fullmatch=True).filter(lambda name: name != "fleet")
NAME = st.from_regex(r"[a-z0-9._-]{1,64}", fullmatch=True)
INGEST = st.sampled_from(jobs.INGESTS)
BATCH = st.tuples(HEX16.map(bytes.hex), BIG, SLOTS)
REQUESTS = st.one_of(
    st.builds(
        jobs.Infer,
        *(DEVICE, HEX16, st.integers(1, 2**32 - 1), NAME, HEX32, HEX32, BIG),
        *(st.integers(1, jobs.MAX_MANIFEST), st.integers(0, jobs.MAX_POLYS)),
    ),
    st.builds(jobs.Seal, DEVICE, HEX16, st.integers(1, 2**32 - 1)),
    st.builds(jobs.MakeMaterial, NAME, HEX32, HEX32, INGEST, HEX16, BIG, SLOTS),
    st.builds(jobs.Pool, NAME, HEX32, HEX32, INGEST, BIG, st.lists(BATCH, max_size=3).map(tuple)),
)
NUMBERS = st.sampled_from([*range(-1, 18), *(2**n + i for n in (23, 27, 32, 53) for i in (-1, 0, 1))])
LISTS = st.lists(st.none() | BATCH.map(list) | st.lists(NUMBERS, max_size=4), max_size=2)
JUNK = st.one_of(
    *(st.none(), st.booleans(), st.floats(), st.text(max_size=70), NUMBERS, LISTS, INGEST, DEVICE, NAME),
    *(
        HEX16.map(bytes.hex),
        HEX32.map(bytes.hex),
        st.dictionaries(st.text(max_size=3), st.none(), max_size=1),
    ),
    st.sampled_from(["infer", "seal", "material", "pool"]),
)


def said(message: dict[str, Any]) -> str:
    """The message as it would travel; tuples are lists there, and `true` is no 1."""
    return json.dumps(message, sort_keys=True)


def whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def text(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def batches(value: Any) -> bool:
    checks = (text("[0-9a-f]{32}"), whole(0, 2**53), whole(1, 16))
    return isinstance(value, list) and all(
        isinstance(item, list) and len(item) == 3 and all(c(v) for c, v in zip(checks, item, strict=True))
        for item in value
    )


FITS: dict[str, Callable[[Any], bool]] = {  # docs/wire.md section 7, said once more
    "device": lambda value: text("[a-z0-9-]{1,32}")(value) and value != "fleet",
    "model": text("[a-z0-9._-]{1,64}"), "ingest": text("mask|xor"), "batches": batches,
    "image": text("[0-9a-f]{32}"), "batch": text("[0-9a-f]{32}"),
    "plan_hash": text("[0-9a-f]{64}"), "version": text("[0-9a-f]{64}"),
    "attempt": whole(1, 2**32 - 1), "slot": whole(0, 2**53), "cursor": whole(0, 2**53), "first": whole(0, 2**53),
    "manifest": whole(1, 1 << 23), "polys": whole(0, 1 << 27), "slots": whole(1, 16),
}  # fmt: skip
KINDS = {kind.OP: kind for kind in (jobs.Infer, jobs.Seal, jobs.MakeMaterial, jobs.Pool)}


def good(message: dict[str, Any]) -> bool:
    """Whether this is a request other than a ping, by the table above."""
    op = message["op"]
    kind = KINDS.get(op) if isinstance(op, str) else None
    return kind is not None and all(
        f.name in message and FITS[f.name](message[f.name]) for f in dataclasses.fields(kind)
    )


@given(REQUESTS)
def test_every_valid_request_comes_back(request_: jobs.Request) -> None:
    message = json.loads(said(request_.to_json()))
    assert good(message) and jobs.parse_request(message) == request_


@settings(max_examples=300)
@given(REQUESTS, st.data())
def test_damaged_requests(request_: jobs.Request, data: st.DataObject) -> None:
    """Each field of a valid request in turn holds something else, with or without a second one: refused where the table
    says so, else understood as exactly what was said.
    """
    valid = json.loads(said(request_.to_json()))
    for field in valid:
        near = LISTS if field == "batches" else NUMBERS if isinstance(valid[field], int) else JUNK
        message = {**valid, field: data.draw(near if data.draw(st.booleans()) else JUNK, field)}
        if data.draw(st.booleans()):
            message[data.draw(st.sampled_from([*valid, "more"]))] = data.draw(JUNK)
        if message["op"] == "ping":
            continue
        try:
            parsed = jobs.parse_request(message)
        except WireError:
            assert not good(message)
            continue
        assert parsed is not None and good(message)
        again = parsed.to_json()
        assert said(again) == said({name: message[name] for name in again})
        assert jobs.parse_request(json.loads(said(again))) == parsed


def test_refusals() -> None:
    assert jobs.expect(jobs.ACCEPT, "accept") == jobs.ACCEPT
    with pytest.raises(jobs.Refused, match="quota") as caught:
        jobs.expect(jobs.Refused(4, "quota").message(), "accept")
    assert caught.value.code == 4
    for message in ({"op": "refuse"}, {"op": "refuse", "code": "4", "reason": ""}, {"op": "pong"}, {}):
        with pytest.raises(WireError):
            jobs.expect(message, "accept")
    with pytest.raises(WireError):
        jobs.sealed_length({"bytes": 1 << 21})


def test_hello() -> None:
    hello = jobs.hello({"mnist": [bytes(32)]}, "w0")
    assert jobs.models_of(hello) == {"mnist": {bytes(32)}}
    assert jobs.pair_of(hello) == "w0"
    assert "pair" not in jobs.hello({})
    for peer in (
        {},
        {"models": []},
        {"models": {"m": ["zz"]}},
        {"models": {"m": "00"}},
        {"models": {"M": []}},
    ):
        with pytest.raises(WireError):
            jobs.models_of(peer)
    for pair in (None, "", "W", "a" * 33, "a/b"):
        with pytest.raises(WireError):
            jobs.pair_of({"pair": pair})
