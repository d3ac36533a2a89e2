"""The messages between the workers: round trips, and what must be refused."""

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


@given(
    st.dictionaries(
        st.sampled_from(["op", "device", "image", "attempt"]), st.text() | st.integers() | st.none()
    )
)
def test_messages_from_nowhere(message: dict[str, Any]) -> None:
    try:
        parsed = jobs.parse_request(message)
    except WireError:
        return
    assert parsed is None or isinstance(parsed, jobs.Seal)


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
