"""A serial port over TCP as RFC 2217 has it, for an emulated board: a pseudo-terminal has no modem lines, so they are made up."""

from __future__ import annotations

import contextlib
import socket
import threading

import serial
import serial.rfc2217


class Port(serial.Serial):
    """A pseudo-terminal as a port whose modem lines are always up."""

    cts = dsr = cd = property(lambda self: True)
    ri = property(lambda self: False)

    def _update_dtr_state(self) -> None:
        pass

    def _update_rts_state(self) -> None:
        pass


class Server:
    """Serves one client after the other; `url` is what to connect to."""

    def __init__(self, port: str) -> None:
        self._port = port
        self._listen = socket.create_server(("127.0.0.1", 0))
        self.url = f"rfc2217://127.0.0.1:{self._listen.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listen.shutdown(socket.SHUT_RDWR)
        self._listen.close()
        self._thread.join(10)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listen.accept()
                with client, Port(self._port, timeout=0.05) as port:
                    self._carry(client, port)

    def _carry(self, client: socket.socket, port: Port) -> None:
        client.settimeout(0.05)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        class Connection:
            write = staticmethod(client.sendall)

        manager = serial.rfc2217.PortManager(port, Connection())
        open_ = True

        def down() -> None:
            with contextlib.suppress(OSError):
                while open_:
                    data = port.read(port.in_waiting or 1)
                    if data:
                        client.sendall(b"".join(manager.escape(data)))

        reader = threading.Thread(target=down, daemon=True)
        reader.start()
        with contextlib.suppress(OSError):
            while True:
                try:
                    data = client.recv(1024)
                except TimeoutError:
                    continue
                if not data:
                    break
                port.write(b"".join(manager.filter(data)))
        open_ = False
        reader.join()
