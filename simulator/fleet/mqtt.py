"""A small MQTT 3.1.1 client for asyncio: one session, QoS 1 both ways, one publish at a time, as the firmware does."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Callable

LIMIT = 1 << 16  # nothing meant for a device is longer
KEEPALIVE_S, PING_S = 60, 25.0
PIECE = 1460  # a bandwidth is kept piece by piece


class LinkError(Exception):
    """The connection is of no use any more; open another."""


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("!H", len(raw)) + raw


def _packet(kind: int, body: bytes) -> bytes:
    length, out = len(body), bytearray((kind,))
    while True:
        length, low = length >> 7, length & 127
        out.append(low | (128 if length else 0))
        if not length:
            return bytes(out) + body


class Link:
    """`on_message(topic, payload)` is called for each message, before its acknowledgement. `bytes_s` 0: no limit of what
    it sends. `ended` is set when the connection is gone.
    """

    def __init__(self, device: str, on_message: Callable[[str, bytes], None], bytes_s: float = 0) -> None:
        self._device, self._on_message, self._bytes_s = device, on_message, bytes_s
        self._acks: dict[int, asyncio.Future[None]] = {}
        self._pid = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._writer: asyncio.StreamWriter | None = None
        self.ended = asyncio.Event()

    async def open(self, host: str, port: int, topic: str, timeout: float = 15) -> None:
        """Connects with a persistent session and subscribes to `topic`."""
        try:
            async with asyncio.timeout(timeout):
                self._reader, self._writer = await asyncio.open_connection(host, port)
                head = _text("MQTT") + b"\x04\x00" + struct.pack("!H", KEEPALIVE_S)
                self._writer.write(_packet(0x10, head + _text(self._device)))
                kind, body = await self._read()
                if kind != 0x20 or len(body) != 2 or body[1]:
                    raise LinkError("the broker refused the connection")
                self._tasks = [asyncio.create_task(self._loop()), asyncio.create_task(self._ping())]
                await self._send(0x82, lambda pid: struct.pack("!H", pid) + _text(topic) + b"\x01")
        except (OSError, TimeoutError, asyncio.IncompleteReadError, LinkError) as error:
            await self.close(orderly=False)
            raise LinkError(f"no connection: {error}") from None

    async def publish(self, topic: str, payload: bytes, timeout: float = 30) -> None:
        """Until the broker has acknowledged it."""
        try:
            async with asyncio.timeout(timeout + (len(payload) / self._bytes_s if self._bytes_s else 0)):
                await self._send(0x32, lambda pid: _text(topic) + struct.pack("!H", pid) + payload)
        except (OSError, TimeoutError) as error:
            raise LinkError(f"not acknowledged: {error}") from None

    async def _send(self, kind: int, body: Callable[[int], bytes]) -> None:
        if self.ended.is_set() or self._writer is None:
            raise ConnectionError("the connection is gone")
        self._pid = self._pid % 65535 + 1
        done = self._acks[self._pid] = asyncio.get_running_loop().create_future()
        packet = _packet(kind, body(self._pid))
        for at in range(0, len(packet), PIECE):
            piece = packet[at : at + PIECE]
            if self._bytes_s:
                await asyncio.sleep(len(piece) / self._bytes_s)
            self._writer.write(piece)
        await self._writer.drain()
        await done

    async def _read(self) -> tuple[int, bytes]:
        kind = (await self._reader.readexactly(1))[0]
        length = shift = 0
        while True:
            byte = (await self._reader.readexactly(1))[0]
            length |= (byte & 127) << shift
            shift += 7
            if not byte & 128:
                break
        if length > LIMIT:
            raise LinkError("a packet that is not for a device")
        return kind, await self._reader.readexactly(length)

    async def _loop(self) -> None:
        assert self._writer is not None
        try:
            while True:
                kind, body = await self._read()
                if kind & 0xF0 == 0x30:
                    n = struct.unpack("!H", body[:2])[0]
                    qos = kind >> 1 & 3
                    self._on_message(body[2 : 2 + n].decode(), body[2 + n + (2 if qos else 0) :])
                    if qos:
                        self._writer.write(_packet(0x40, body[2 + n : 4 + n]))
                elif kind in (0x40, 0x90):
                    waiting = self._acks.pop(struct.unpack("!H", body[:2])[0], None)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(None)
        except (OSError, LinkError, asyncio.IncompleteReadError, struct.error, IndexError):
            self._fail()

    def _fail(self) -> None:
        for waiting in self._acks.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError("the broker closed the connection"))
                waiting.exception()  # nobody may be waiting
        self._acks.clear()
        self.ended.set()

    async def _ping(self) -> None:
        assert self._writer is not None
        while True:
            await asyncio.sleep(PING_S)
            self._writer.write(b"\xc0\x00")

    def cut(self) -> None:
        """The connection is gone without a word, as when a radio is."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._fail()

    async def close(self, orderly: bool = True) -> None:
        """Ends the connection; with `orderly` False it is cut."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self._fail()
        writer, self._writer = self._writer, None
        if writer is None:
            return
        with contextlib.suppress(OSError):
            if orderly:
                writer.write(b"\xe0\x00")
                await writer.drain()
        if not orderly:
            writer.transport.abort()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
