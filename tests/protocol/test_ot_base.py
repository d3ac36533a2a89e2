"""Base OT: the keys agree, the unchosen one is unknown, bad points are refused, the receiver's message says nothing."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from blindsight.channel import ProtocolError
from blindsight.fixed.rng import SystemRng
from blindsight.ot.base import BadPoint, BaseReceiver, BaseSender, run_both

COUNT = 12


def run(rng: Any, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sender, receiver = BaseSender(COUNT, b"test", rng), BaseReceiver(choices, b"test", rng)
    return sender.finish(receiver.hello), receiver.finish(sender.hello)


def test_receiver_gets_the_key_of_its_choice_and_no_other() -> None:
    choices = np.array([0, 1] * (COUNT // 2), np.uint8)
    keys, got = run(SystemRng(), choices)
    assert np.array_equal(got, keys[np.arange(COUNT), choices])
    assert not (got == keys[np.arange(COUNT), 1 - choices]).all(axis=1).any()
    assert len({k.tobytes() for k in keys.reshape(-1, 16)}) == 2 * COUNT


def test_both_directions_in_one_round(two_parties: Callable[..., Any]) -> None:
    choices = [np.array([i % 2] * COUNT, np.uint8) for i in (0, 1)]

    def party(channel: Any) -> Any:
        before = channel.stats.copy()
        mine = BaseReceiver(choices[channel.party], bytes([channel.party]), SystemRng())
        theirs = BaseSender(COUNT, bytes([1 - channel.party]), SystemRng())
        return *run_both(theirs, mine, channel), channel.stats.minus(before)

    (a, _), (b, _) = two_parties(party)
    assert np.array_equal(a[1], b[0][:, 0])
    assert np.array_equal(b[1], a[0][:, 1])
    assert a[2].rounds == 1 and a[2].messages == 1 and a[2].sent == 5 + 32 + 64 * COUNT


@pytest.mark.parametrize(
    "bad", [b"\xff" * 32, bytes(32), b"\x01" + bytes(31)], ids=["no point", "order 4", "neutral"]
)
def test_bad_points_are_refused(bad: bytes) -> None:
    choices = np.zeros(COUNT, np.uint8)
    sender, receiver = BaseSender(COUNT, b"test", SystemRng()), BaseReceiver(choices, b"test", SystemRng())
    with pytest.raises(BadPoint, match="no point of the prime-order group"):
        sender.finish(bad + receiver.hello[32:])
    with pytest.raises(BadPoint, match="no point of the prime-order group"):
        receiver.finish(bad)


def test_another_context_gives_other_keys(seeded: Callable[[str], Any]) -> None:
    choices = np.zeros(COUNT, np.uint8)
    one = BaseReceiver(choices, b"one", seeded("r"))
    assert not np.array_equal(
        BaseSender(COUNT, b"one", seeded("s")).finish(one.hello),
        BaseSender(COUNT, b"two", seeded("s")).finish(one.hello),
    )


def test_a_peer_that_sends_no_point_is_one_clear_error_at_both(two_parties: Callable[..., Any]) -> None:
    errors: list[ProtocolError] = []

    def party(channel: Any) -> None:
        mine = BaseReceiver(np.zeros(COUNT, np.uint8), b"", SystemRng())
        theirs = BaseSender(COUNT, b"", SystemRng())
        if channel.party == 1:
            mine.hello = b"\xff" * len(mine.hello)
        try:
            run_both(theirs, mine, channel)
            channel.recv(1)
        except ProtocolError as error:
            errors.append(error)

    two_parties(party)
    assert len(errors) == 2 and all("no point of the prime-order group" in str(e) for e in errors)
