"""Accepting the cloud's connections: whoever has not authenticated in a few seconds is cut off.

Adversary: anybody who reaches the port. Each connection gets a thread of its own from the first byte, so that
one that stalls in the handshake holds up nobody; how many may be in that state at once is bounded, and only
those that have shown the cloud's certificate go on to be served.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from blindsight.channel import Channel, ChannelError, PeerTimeout, TlsFiles, tcp_listen
from blindsight.channel.framing import FramedChannel
from blindsight.channel.tcp import SocketTransport
from blindsight.channel.tls import TlsTransport
from blindsight.helper.config import Listen
from blindsight.service.logs import Log
from blindsight.service.metrics import Metrics
from blindsight.service.secretfile import SecretError, key_password

HANDSHAKE_S = 10.0
STRANGERS = 64
POLL_S = 0.5

Serve = Callable[[Channel], None]
Hello = Callable[[], dict[str, Any]]


class Acceptor:
    """Listens, authenticates, and calls `serve` with each channel in its own thread; `hello` is asked for
    each anew.
    """

    def __init__(self, config: Listen, hello: Hello, serve: Serve, metrics: Metrics, log: Log) -> None:
        self._config, self._hello, self._serve = config, hello, serve
        self._metrics, self._log = metrics, log
        self._files: TlsFiles | None = None
        if config.ca is not None and config.certificate is not None and config.key is not None:
            self._files = TlsFiles(
                config.ca, config.certificate, config.key, config.peer, key_password(config.key)
            )
            self._files.context(server=True)  # says now what is wrong with a file
        self._listener = tcp_listen(1, config.host, config.port, config.timeout_s)
        self.address = self._listener.address
        self._stop = threading.Event()
        self._strangers = threading.BoundedSemaphore(STRANGERS)
        self._served = threading.BoundedSemaphore(config.connections)
        self._lock = threading.Lock()
        self._open_sockets: dict[threading.Thread, socket.socket] = {}
        self._thread = threading.Thread(target=self._run, name="acceptor", daemon=True)

    def start(self) -> None:
        """Starts accepting."""
        self._thread.start()

    def stop(self, wait_s: float = 5.0) -> None:
        """Stops accepting, ends what is served at its next message, and waits for that."""
        self._stop.set()
        self._thread.join(2 * POLL_S)
        self._listener.close()
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            with self._lock:
                threads = dict(self._open_sockets)
            if not threads:
                return
            for thread, sock in threads.items():
                _cut(sock)
                thread.join(0.1)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                sock = self._listener.accept_socket(POLL_S)
            except PeerTimeout:
                continue
            except ChannelError as error:
                self._refused(str(error))
                self._stop.wait(POLL_S)
                continue
            if not self._strangers.acquire(blocking=False):
                sock.close()
                self._refused("too many connections wait for their handshake")
                continue
            threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock: socket.socket) -> None:
        with self._lock:
            self._open_sockets[threading.current_thread()] = sock
        try:
            self._handle(sock)
        finally:
            with self._lock:
                del self._open_sockets[threading.current_thread()]

    def _handle(self, sock: socket.socket) -> None:
        try:
            channel = self._open(sock)
        except (ChannelError, SecretError, OSError) as error:  # keys and plans are read anew each time
            self._refused(str(error))
            return
        finally:
            self._strangers.release()
        if not self._served.acquire(blocking=False):
            self._refused(f"{self._config.connections} connections are served already")
            channel.close()
            return
        try:
            self._serve(channel)
        finally:
            self._served.release()
            channel.close()

    def _open(self, sock: socket.socket) -> FramedChannel:
        timer = threading.Timer(HANDSHAKE_S, _cut, (sock,))
        timer.start()
        try:
            raw = SocketTransport(sock, self._config.timeout_s)
            transport = raw if self._files is None else TlsTransport(raw, self._files, server=True)
            channel = FramedChannel(transport, 1)
            channel.handshake(self._hello())
            return channel
        except BaseException:
            sock.close()
            raise
        finally:
            timer.cancel()

    def _refused(self, why: str) -> None:
        if not self._stop.is_set():
            self._metrics.count("connections_refused")
            self._log.warning("connection-refused", detail=why)


def _cut(sock: socket.socket) -> None:
    """Wakes whoever waits on the socket; closing it under its reader would free the number for another."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
