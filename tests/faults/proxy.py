"""A TCP proxy that can cut, stall or corrupt what passes: the network between two of the parties."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time


class Proxy:
    """Forwards connections to (127.0.0.1, `target`); `port` is where it listens."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._stalled_until = 0.0
        self._corrupt = 0
        self._refuse_until = 0.0
        self._stop = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, away_s: float = 0.0) -> None:
        """Breaks every connection and refuses new ones for a while."""
        self._refuse_until = time.monotonic() + away_s
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for sock in (s for pair in pairs for s in pair):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def stall(self, seconds: float) -> None:
        """Forwards nothing for a while."""
        self._stalled_until = time.monotonic() + seconds

    def corrupt(self, chunks: int = 1) -> None:
        """Flips a bit in each of the next chunks."""
        self._corrupt += chunks

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
        with near, far, contextlib.suppress(OSError):
            while True:
                ready, _, _ = select.select([near, far], [], [], 1)
                for sock in ready:
                    data = bytearray(sock.recv(65536))
                    if not data:
                        return
                    while (wait := self._stalled_until - time.monotonic()) > 0:
                        time.sleep(min(wait, 0.05))
                    if self._corrupt:
                        self._corrupt -= 1
                        data[int.from_bytes(os.urandom(4), "little") % len(data)] ^= 1 << (data[0] % 8)
                    (far if sock is near else near).sendall(data)
