"""A TCP proxy between two of the parties that knows where their messages begin: it can cut at a given one, stall,
corrupt, or be away.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable

Length = Callable[[bytes], int | None]  # how long the first message of a stream is; None: not to be seen yet


def tls_record(data: bytes) -> int | None:
    """TLS records."""
    return 5 + int.from_bytes(data[3:5], "big") if len(data) >= 5 else None


def mqtt_packet(data: bytes) -> int | None:
    """MQTT control packets in the clear."""
    size = 0
    for i, byte in enumerate(data[1:5]):
        size |= (byte & 127) << (7 * i)
        if byte < 128:
            return 2 + i + size
    return None


def link_frame(data: bytes) -> int | None:
    """Frames of the server link in the clear (docs/wire.md section 6)."""
    return 5 + int.from_bytes(data[:4], "little") if len(data) >= 5 else None


def _shut(sock: socket.socket) -> bool:
    """Ends a connection; False where it had ended."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
        return True
    return False


class Proxy:
    """Forwards connections to (127.0.0.1, `target`); `port` is where it listens."""

    def __init__(self, target: int, length: Length = tls_record) -> None:
        self._target, self._length = target, length
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._stalled_until = 0.0
        self._corrupt = 0
        self._refuse_until = 0.0
        self._cut_at = 0
        self.messages = 0  # forwarded since `count`
        self.stalled = self.corrupted = 0  # messages that waited, or had a bit flipped
        self.broken = 0  # connections that were cut while they stood
        self._stop = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, away_s: float = 0.0) -> None:
        """Breaks every connection and refuses new ones for a while."""
        self._refuse_until = time.monotonic() + away_s
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            self.broken += any([_shut(sock) for sock in pair])

    def count(self, cut_at: int = 0) -> None:
        """Counts messages from now on, over all connections and both ways; in place of number `cut_at` (from 1)
        everything is cut, once.
        """
        with self._lock:
            self.messages, self._cut_at = 0, cut_at

    @property
    def armed(self) -> bool:
        """The message to cut at has not come yet."""
        return self._cut_at > 0

    def stall(self, seconds: float) -> None:
        """Forwards nothing for a while."""
        self._stalled_until = time.monotonic() + seconds

    def corrupt(self, messages: int = 1) -> None:
        """Flips a bit in each of the next messages."""
        self._corrupt += messages

    def close(self) -> None:
        self._stop.set()
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                near, _ = self._listener.accept()
            except OSError:
                continue
            try:
                if time.monotonic() < self._refuse_until:
                    raise ConnectionRefusedError
                far = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                near.close()
                continue
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.append((near, far))
            threading.Thread(target=self._forward, args=(near, far), daemon=True).start()

    def _forward(self, near: socket.socket, far: socket.socket) -> None:
        waiting = {near: bytearray(), far: bytearray()}
        with near, far, contextlib.suppress(OSError):
            while True:
                ready, _, _ = select.select([near, far], [], [], 1)
                for sock in ready:
                    data = sock.recv(65536)
                    if not data:
                        return
                    waiting[sock] += data
                    out = self._whole(waiting[sock])
                    self.stalled += time.monotonic() < self._stalled_until
                    while (wait := self._stalled_until - time.monotonic()) > 0:
                        time.sleep(min(wait, 0.05))
                    (far if sock is near else near).sendall(out)

    def _whole(self, waiting: bytearray) -> bytes:
        """Takes the whole messages off a stream's beginning; raises where it is to be cut."""
        out = bytearray()
        while (size := self._length(bytes(waiting[:5]))) is not None and len(waiting) >= size:
            message = waiting[:size]
            del waiting[:size]
            with self._lock:
                self.messages += 1
                here = self.messages == self._cut_at
                if here:
                    self._cut_at = 0
            if here:
                self.cut()
                raise ConnectionAbortedError
            if self._corrupt:
                self._corrupt -= 1
                self.corrupted += 1
                message[int.from_bytes(os.urandom(4), "little") % size] ^= 1 << (message[0] % 8)
            out += message
        return bytes(out)
