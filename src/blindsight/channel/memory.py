"""A channel inside one process, for tests and for running both parties in two threads."""

import threading
import time
from collections import deque
from typing import Any

from blindsight.channel.base import PeerClosed, PeerTimeout
from blindsight.channel.framing import FramedChannel


class _Pipe:
    """One direction: bytes put by one thread, taken by another. Unbounded, so that a sender never waits."""

    def __init__(self) -> None:
        self.ready = threading.Condition()
        self.parts: deque[memoryview] = deque()
        self.closed = False

    def put(self, parts: list[memoryview]) -> None:
        with self.ready:
            if self.closed:
                raise PeerClosed("the peer closed the connection")
            self.parts.extend(memoryview(bytes(p)) for p in parts if p.nbytes)
            self.ready.notify()

    def take_into(self, view: memoryview, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        with self.ready:
            while view.nbytes:
                while not self.parts:
                    if self.closed:
                        raise PeerClosed("the peer closed the connection")
                    if not self.ready.wait(deadline - time.monotonic()):
                        raise PeerTimeout(f"the peer sent nothing for {timeout:g} s")
                part = self.parts.popleft()
                n = min(part.nbytes, view.nbytes)
                view[:n] = part[:n]
                view = view[n:]
                if n < part.nbytes:
                    self.parts.appendleft(part[n:])

    def close(self) -> None:
        with self.ready:
            self.closed = True
            self.ready.notify_all()


class _MemoryTransport:
    def __init__(self, out: _Pipe, into: _Pipe, timeout: float) -> None:
        self._out, self._in, self._timeout = out, into, timeout

    def send(self, parts: list[memoryview]) -> None:
        self._out.put(parts)

    def recv_into(self, view: memoryview) -> None:
        self._in.take_into(view, self._timeout)

    def close(self) -> None:
        self._out.close()
        self._in.close()


def memory_pair(
    timeout: float = 60.0, hello: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
) -> tuple[FramedChannel, FramedChannel]:
    """Two connected channels, party 0 and party 1, HELLOs exchanged."""
    a, b = _Pipe(), _Pipe()
    ends = (
        FramedChannel(_MemoryTransport(a, b, timeout), 0),
        FramedChannel(_MemoryTransport(b, a, timeout), 1),
    )
    other = threading.Thread(target=ends[1].handshake, args=(hello[1],))
    other.start()
    ends[0].handshake(hello[0])
    other.join()
    return ends
