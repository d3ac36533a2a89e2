"""Bytes and rounds per protocol, and transcripts for the view tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np

from blindsight.channel.base import Buffer, Channel, Stats


class Recorder:
    """Wraps a channel; counts by section and, when asked, keeps what was received and sent.

    Attributes:
        sections: name -> Stats, summed over every time the section was entered.
        received, sent: the DATA payloads in order, when `transcript` is set (a party's view; tests and evaluation only).
    """

    def __init__(self, channel: Channel, transcript: bool = False) -> None:
        self._channel = channel
        self._transcript = transcript
        self.sections: dict[str, Stats] = {}
        self.received: list[bytes] = []
        self.sent: list[bytes] = []

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        before = self.stats.copy()
        try:
            yield
        finally:
            new, total = self.stats.minus(before), self.sections.setdefault(name, Stats())
            total.sent += new.sent
            total.received += new.received
            total.messages += new.messages
            total.rounds += new.rounds

    @property
    def party(self) -> int:
        return self._channel.party

    @property
    def session(self) -> bytes:
        return self._channel.session

    @property
    def peer(self) -> dict[str, Any]:
        return self._channel.peer

    @property
    def stats(self) -> Stats:
        return self._channel.stats

    def send(self, *parts: Buffer) -> None:
        if self._transcript:
            self.sent.append(
                b"".join(np.asarray(p).tobytes() if isinstance(p, np.ndarray) else p for p in parts)
            )
        self._channel.send(*parts)

    def recv(self, nbytes: int) -> np.ndarray:
        got = self._channel.recv(nbytes)
        if self._transcript:
            self.received.append(got.tobytes())
        return got

    def exchange(self, out: Buffer, nbytes: int) -> np.ndarray:
        self.send(out)
        return self.recv(nbytes)

    def send_control(self, message: dict[str, Any]) -> None:
        self._channel.send_control(message)

    def recv_control(self) -> dict[str, Any]:
        return self._channel.recv_control()

    def fail(self, reason: str) -> NoReturn:
        self._channel.fail(reason)

    def close(self) -> None:
        self._channel.close()
