"""The relay before the real firmware: it relays, is as slow as the line, and is shut in an outage and open after it."""

import asyncio
import time

import pytest

from blindsight.simulator.fleet import Fleet, Gate, Group, Outage


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)
    writer.close()


def test_it_relays_and_is_shut_in_an_outage() -> None:
    async def run() -> None:
        server = await asyncio.start_server(_echo, "127.0.0.1", 0)
        group = Group(latency_s=0.01, bandwidth_kbit_s=400)
        fleet = Fleet((group,), outages=(Outage(2.0, 1.5),))
        gate = Gate(fleet, group, "127.0.0.1", server.sockets[0].getsockname()[1])
        probe = await asyncio.start_server(_echo, "127.0.0.1", 0)
        port = probe.sockets[0].getsockname()[1]
        probe.close()
        await probe.wait_closed()
        await gate.listen(port)
        loop = asyncio.get_running_loop()
        start = loop.time()
        cuts = asyncio.create_task(gate.run(start))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        began = time.monotonic()
        writer.write(bytes(10_000))  # 0.2 s at 50 kB/s
        assert await reader.readexactly(10_000) == bytes(10_000)
        assert time.monotonic() - began > 0.2
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):  # cut at 2 s
            await reader.readexactly(1)
        assert loop.time() - start >= 1.95
        writer.close()
        again = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await again[0].readexactly(1)
        again[1].close()
        await asyncio.sleep(max(0.0, start + 3.7 - loop.time()))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"open")
        assert await reader.readexactly(4) == b"open"
        writer.close()
        await cuts
        await gate.close()
        server.close()

    asyncio.run(asyncio.wait_for(run(), 30))
