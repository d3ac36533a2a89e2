"""The channel's interface, its errors and its counters."""

from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import numpy as np

from blindsight.errors import OneLine

Buffer = bytes | bytearray | memoryview | np.ndarray


class ChannelError(OneLine):
    """The link failed or the peer broke the agreement; the channel is closed and cannot be used again."""


class PeerClosed(ChannelError):
    """The peer ended the connection."""


class PeerTimeout(ChannelError):
    """The peer sent (or took) nothing for the time allowed."""


class ProtocolError(ChannelError):
    """The peer sent a frame of another type or length than the one agreed, or reported such an error itself."""


class VersionError(ChannelError):
    """The two ends speak no protocol version in common."""


@dataclass
class Stats:
    """What passed, frame headers included. A round is one wait for the peer after something was sent to it."""

    sent: int = 0
    received: int = 0
    messages: int = 0
    rounds: int = 0

    def minus(self, other: "Stats") -> "Stats":
        return Stats(
            self.sent - other.sent,
            self.received - other.received,
            self.messages - other.messages,
            self.rounds - other.rounds,
        )

    def copy(self) -> "Stats":
        return Stats(self.sent, self.received, self.messages, self.rounds)


class Channel(Protocol):
    """One end of a two-party link. Not thread-safe: one protocol run at a time uses it.

    Attributes:
        party: 0 for the cloud, 1 for the helper.
        session: 16 bytes both ends contributed to; fresh for every connection.
        peer: what the peer's HELLO carried beside the protocol's own fields.
        stats: bytes, messages and rounds so far.
    """

    party: int
    session: bytes
    peer: dict[str, Any]
    stats: Stats

    def send(self, *parts: Buffer) -> None:
        """Send the parts joined as one DATA frame. Never waits for the peer to stop sending."""
        ...

    def recv(self, nbytes: int) -> np.ndarray:
        """The next DATA frame, which must hold exactly `nbytes`: a fresh, writable, 64-byte aligned `uint8` array.

        Raises:
            ProtocolError: the frame is of another type or length.
            PeerClosed, PeerTimeout: no frame came.
        """
        ...

    def exchange(self, out: Buffer, nbytes: int) -> np.ndarray:
        """Send `out` and receive exactly `nbytes`; both ends may call it at once. One round."""
        ...

    def send_control(self, message: dict[str, Any]) -> None:
        """Send a JSON object as one CONTROL frame (at most 1 MiB)."""
        ...

    def recv_control(self) -> dict[str, Any]:
        """The next CONTROL frame's JSON object."""
        ...

    def fail(self, reason: str) -> NoReturn:
        """Tell the peer why in one line, close, and raise ProtocolError. The reason must hold nothing secret."""
        ...

    def close(self) -> None:
        """Say BYE if the link still stands, and close. May be called twice."""
        ...
