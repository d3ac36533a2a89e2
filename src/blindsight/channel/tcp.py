"""Channels over TCP: loopback, tests, and the byte stream below TLS."""

import select
import socket
import time
from typing import Any

from blindsight.channel.base import ChannelError, PeerClosed, PeerTimeout
from blindsight.channel.framing import LIMITS, FramedChannel

_CHUNK = 1 << 18
# A protocol is many short rounds, and waking a sleeping process costs more than most of them take: look
# again for this long before going to sleep.
_SPIN_S = 0.0005
_MAX_AHEAD = 2 * max(LIMITS.values())  # what a peer may send while this end is still sending


class SocketTransport:
    """A non-blocking socket. While `send` waits for room it reads what the peer sends, so two senders never lock up."""

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock, self._timeout = sock, timeout
        self._ahead = bytearray()
        self._poll = select.poll()

    def _wait(self, events: int, doing: str) -> int:
        self._poll.register(self._sock, events)
        ready = self._poll.poll(self._timeout * 1000)
        if not ready:
            raise PeerTimeout(f"the peer {doing} nothing for {self._timeout:g} s")
        return ready[0][1]

    def _read(self, view: memoryview) -> int:
        try:
            n = self._sock.recv_into(view)
        except BlockingIOError:
            return -1
        except OSError as error:
            raise PeerClosed(f"the connection broke: {error.strerror or error}") from None
        if n == 0:
            raise PeerClosed("the peer closed the connection")
        return n

    def send(self, parts: list[memoryview]) -> None:
        parts = [p for p in parts if p.nbytes]
        while parts:
            try:
                n = self._sock.sendmsg(parts[:64])
            except BlockingIOError:
                if self._wait(select.POLLIN | select.POLLOUT, "took") & select.POLLIN:
                    self._read_ahead()
                continue
            except OSError as error:
                raise PeerClosed(f"the connection broke: {error.strerror or error}") from None
            while parts and n >= parts[0].nbytes:
                n -= parts.pop(0).nbytes
            if n:
                parts[0] = parts[0][n:]

    def send_only(self, view: memoryview) -> None:
        """Send without reading meanwhile: for a thread that only writes, on a duplicate of the socket."""
        while view.nbytes:
            try:
                view = view[self._sock.send(view) :]
            except BlockingIOError:
                self._wait(select.POLLOUT, "took")
            except OSError as error:
                raise PeerClosed(f"the connection broke: {error.strerror or error}") from None

    def _read_ahead(self) -> None:
        chunk = bytearray(_CHUNK)
        n = self._read(memoryview(chunk))
        if n > 0:
            self._ahead += memoryview(chunk)[:n]
            if len(self._ahead) > _MAX_AHEAD:
                raise ChannelError("the peer sends without end")

    def recv_some(self, view: memoryview) -> int:
        """Up to `view.nbytes` bytes, at least one."""
        if self._ahead:
            n = min(len(self._ahead), view.nbytes)
            view[:n] = self._ahead[:n]
            del self._ahead[:n]
            return n
        asleep_from = time.perf_counter() + _SPIN_S
        while (n := self._read(view)) < 0:
            if time.perf_counter() > asleep_from:
                self._wait(select.POLLIN, "sent")
        return n

    def recv_into(self, view: memoryview) -> None:
        while view.nbytes:
            view = view[self.recv_some(view) :]

    def close(self) -> None:
        self._sock.close()


class TcpListener:
    """A listening socket. `address` is the (host, port) bound; port 0 picks a free one."""

    def __init__(self, host: str, port: int, party: int, timeout: float) -> None:
        try:
            self._sock = socket.create_server((host, port))
        except OSError as error:
            raise ChannelError(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another port"
            ) from None
        self.address: tuple[str, int] = self._sock.getsockname()[:2]
        self._party, self._timeout = party, timeout

    def accept_socket(self, wait: float | None = None) -> socket.socket:
        """The next connection; PeerTimeout after `wait` seconds (default: the channel's time limit)."""
        self._sock.settimeout(self._timeout if wait is None else wait)
        try:
            return self._sock.accept()[0]
        except TimeoutError:
            raise PeerTimeout("no peer connected") from None
        except OSError as error:
            raise ChannelError(f"the listener is closed: {error.strerror or error}") from None

    def accept(self, hello: dict[str, Any] | None = None, wait: float | None = None) -> FramedChannel:
        """The next peer's channel, HELLOs exchanged."""
        return _open(SocketTransport(self.accept_socket(wait), self._timeout), self._party, hello)

    def close(self) -> None:
        self._sock.close()


def _open(transport: Any, party: int, hello: dict[str, Any] | None) -> FramedChannel:
    channel = FramedChannel(transport, party)
    channel.handshake(hello or {})
    return channel


def tcp_listen(party: int, host: str = "127.0.0.1", port: int = 0, timeout: float = 60.0) -> TcpListener:
    """Listen for the other party. In the clear: for loopback and tests only; servers use TLS."""
    return TcpListener(host, port, party, timeout)


def connect_socket(host: str, port: int, timeout: float, retry_for: float) -> socket.socket:
    """Connect, trying again for `retry_for` seconds while the other end is not up yet."""
    deadline = time.monotonic() + retry_for
    while True:
        try:
            return socket.create_connection((host, port), timeout)
        except OSError as error:
            if time.monotonic() >= deadline:
                raise PeerClosed(
                    f"cannot reach {host}:{port}: {error.strerror or error}; is the other server up?"
                ) from None
            time.sleep(0.05)


def tcp_connect(
    party: int,
    host: str,
    port: int,
    hello: dict[str, Any] | None = None,
    timeout: float = 60.0,
    retry_for: float = 0.0,
) -> FramedChannel:
    """Connect to the other party over plain TCP (loopback and tests only)."""
    return _open(SocketTransport(connect_socket(host, port, timeout, retry_for), timeout), party, hello)
