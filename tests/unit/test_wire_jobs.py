"""The messages between the workers: round trips, and what must be refused."""

import json
from typing import Any

import pytest
from hypothesis import given
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
    st.sampled_from([kind.OP for kind in (jobs.Infer, jobs.Seal, jobs.MakeMaterial, jobs.Pool)]),
)


def said(message: dict[str, Any]) -> str:
    """The message as it would travel; tuples are lists there, and `true` is no 1."""
    return json.dumps(message, sort_keys=True)


@given(REQUESTS)
def test_every_valid_request_comes_back(request_: jobs.Request) -> None:
    assert jobs.parse_request(json.loads(said(request_.to_json()))) == request_


@given(REQUESTS, st.data())
def test_damaged_requests(request_: jobs.Request, data: st.DataObject) -> None:
    """Each field of a valid request in turn holds something else, with or without a second one: refused, or understood
    as exactly what was said.
    """
    whole = json.loads(said(request_.to_json()))
    for field in whole:
        message = {**whole, field: data.draw(JUNK, field)}
        if data.draw(st.booleans()):
            message[data.draw(st.sampled_from([*whole, "more"]))] = data.draw(JUNK)
        try:
            parsed = jobs.parse_request(message)
        except WireError as error:
            assert str(error)
            continue
        if parsed is None:
            assert message["op"] == "ping"
            continue
        again = parsed.to_json()
        assert said(again) == said({name: message[name] for name in again})
        assert jobs.parse_request(again) == parsed


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
