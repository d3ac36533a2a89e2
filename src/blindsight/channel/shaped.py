"""A TCP link slowed to a named profile, for figures over a wide-area network measured on one machine.

Each end delays what it sends: a message leaves when the line is free, at the line's rate, and arrives half a round trip later. Loss and
congestion are not modelled.
"""

import queue
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from blindsight.channel.base import PeerClosed
from blindsight.channel.framing import FramedChannel
from blindsight.channel.tcp import SocketTransport

_CHUNK = 1 << 16


@dataclass(frozen=True)
class Link:
    """A line: bits a second each way, and round-trip time in seconds."""

    bits_per_s: float
    rtt_s: float


WAN = Link(100e6, 0.040)


class ShapedTransport(SocketTransport):
    """A socket whose outgoing bytes pass a modelled line. A thread of its own writes; the caller's thread reads."""

    def __init__(self, sock: socket.socket, timeout: float, link: Link) -> None:
        super().__init__(sock, timeout)
        self._link = link
        self._free_at = 0.0
        self._line: queue.SimpleQueue[tuple[float, bytes] | None] = queue.SimpleQueue()
        self._broken = False
        self._writer = threading.Thread(
            target=self._write, args=(SocketTransport(sock.dup(), timeout),), daemon=True
        )
        self._writer.start()

    def send(self, parts: list[memoryview]) -> None:
        if self._broken:
            raise PeerClosed("the connection broke")
        data = b"".join(parts)
        self._free_at = max(self._free_at, time.monotonic())
        for at in range(0, len(data), _CHUNK):
            chunk = data[at : at + _CHUNK]
            self._free_at += 8 * len(chunk) / self._link.bits_per_s
            self._line.put((self._free_at + self._link.rtt_s / 2, chunk))

    def _write(self, raw: SocketTransport) -> None:
        while item := self._line.get():
            due, chunk = item
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                raw.send_only(memoryview(chunk))
            except PeerClosed:
                self._broken = True
                break
        raw.close()

    def close(self) -> None:
        """Waits until what was sent has arrived."""
        self._line.put(None)
        self._writer.join()
        super().close()


def shaped(
    sock: socket.socket, party: int, link: Link, hello: Mapping[str, object], timeout: float = 60.0
) -> FramedChannel:
    """A channel over a connected socket and a modelled line; both ends must be shaped alike."""
    channel = FramedChannel(ShapedTransport(sock, timeout, link), party)
    channel.handshake(dict(hello))
    return channel
