"""Two parties in two threads, and randomness that repeats: for tests alone."""

import hashlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from blindsight.channel import Recorder, memory_pair


class SeededRng:
    """A deterministic `blindsight.fixed.rng.Rng`: SHAKE-256 of a seed and a call number."""

    def __init__(self, seed: str) -> None:
        self._seed, self._calls = seed.encode(), 0

    def bytes(self, n: int) -> bytes:
        self._calls += 1
        return hashlib.shake_256(self._seed + b"/" + str(self._calls).encode()).digest(n)


def in_two_threads(party: Callable[[Any], Any], session: bytes | None = None) -> list[tuple[Any, Recorder]]:
    """Run `party(channel)` for both ends of a memory pair; (result, recorder with transcript) of each.

    The first exception of either party is raised once both have ended.
    """
    results: list[Any] = [None, None]
    errors: list[BaseException] = []
    ends = memory_pair(timeout=30.0)
    recorders = [Recorder(end, transcript=True) for end in ends]

    def go(i: int) -> None:
        if session is not None:
            ends[i].session = session
        try:
            results[i] = party(recorders[i])
        except BaseException as error:
            errors.append(error)
            ends[i].close()

    threads = [threading.Thread(target=go, args=(i,), daemon=True) for i in (0, 1)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
        assert not t.is_alive(), "a party hangs"
    for end in ends:
        end.close()
    if errors:
        raise errors[0]
    return list(zip(results, recorders, strict=True))


@pytest.fixture
def two_parties() -> Callable[..., list[tuple[Any, Recorder]]]:
    return in_two_threads


@pytest.fixture
def seeded() -> Callable[[str], SeededRng]:
    return SeededRng
