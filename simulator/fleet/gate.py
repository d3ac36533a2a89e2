"""The network of devices with the real firmware: a TCP relay, slow as their group's line, that an outage closes.

They know nothing of it. What the seed draws for simulated devices (lost messages, cuts) does not happen here.
"""

from __future__ import annotations

import asyncio
import contextlib

from blindsight.simulator.fleet.groups import Fleet, Group

PIECE = 1460


class Gate:
    """Relays 127.0.0.1:`port` to the broker for a group's devices. An outage that hits all of the group cuts everything
    through it.
    """

    def __init__(self, fleet: Fleet, group: Group, host: str, port: int) -> None:
        self._outages = [o for o in fleet.outages if o.part == 1 and o.group in ("", group.name)]
        self._latency_s, self._bytes_s = group.latency_s, group.bandwidth_kbit_s * 125
        self._host, self._port = host, port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._shut = False

    async def listen(self, port: int) -> None:
        """Begins to relay."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)

    async def run(self, start: float) -> None:
        """Closes and opens as the outages say; `start` on the loop's clock."""
        loop = asyncio.get_running_loop()
        for o in sorted(self._outages, key=lambda o: o.at):
            await asyncio.sleep(max(0.0, start + o.at - loop.time()))
            self._shut = True
            for writer in list(self._open):
                writer.transport.abort()
            await asyncio.sleep(max(0.0, start + o.at + o.lasts - loop.time()))
            self._shut = False

    async def close(self) -> None:
        """Ends the relay."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._shut:
            writer.transport.abort()
            return
        try:
            there = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, there[1]}
        ways = [
            asyncio.create_task(_pump(reader, there[1], self._latency_s, self._bytes_s)),
            asyncio.create_task(_pump(there[0], writer, 0.0, 0.0)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            self._open -= {writer, there[1]}
            for end in (writer, there[1]):
                end.close()


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, latency_s: float, bytes_s: float
) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(PIECE if bytes_s else 65536):
            await asyncio.sleep(latency_s + (len(data) / bytes_s if bytes_s else 0.0))
            writer.write(data)
            await writer.drain()
