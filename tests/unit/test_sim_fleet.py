"""The fleet's timetable repeats; its MQTT client speaks to a broker; its parcels are what the cloud takes."""

import asyncio
import struct
from collections.abc import Awaitable, Callable

import pytest

from blindsight import _device
from blindsight.simulator.fleet import Faults, Identity, schedule
from blindsight.simulator.fleet.mqtt import Link, LinkError
from blindsight.simulator.fleet.parcel import encrypt
from blindsight.wire import manifest, topics
from blindsight.wire.blocks import Mode, commitment

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def test_the_timetable_is_the_seed_s() -> None:
    args = (20, 60.0, 10, 3, Faults(0.3, 0.1), 4)
    plans = schedule(1, *args)
    assert plans == schedule(1, *args) != schedule(2, *args)
    assert len(plans) == 60 and [p.at for p in plans] == sorted(p.at for p in plans)
    assert all(0 <= p.at <= 60 and 0 <= p.picture < 10 and len(p.delays) == 4 for p in plans)
    assert 0 < sum(p.cut for p in plans) < 40
    assert not any(p.cut or sum(p.delays) for p in schedule(1, 20, 60.0, 10, 3, Faults(), 4))


@pytest.mark.parametrize("mode", [Mode.RLWE_SK, Mode.AES])
def test_a_parcel_is_a_picture_of_the_wire_format(mode: Mode) -> None:
    who = Identity("sim-1", bytes(range(32)), b"", 0, mode, "mnist", bytes(32), (28, 28, 1))
    one, two = (encrypt(who, 7, bytes(784)) for _ in range(2))
    assert one.image != two.image and one.messages != two.messages  # fresh randomness each
    signed, salt = manifest.split_salt(one.messages[-1][1])
    parsed = manifest.parse(signed)
    assert parsed.commitments == (commitment(salt, 0, one.messages[0][1]),)
    assert one.messages[0][0] == topics.block("sim-1", one.image, 0)
    assert len(one.messages[0][1]) == parsed.layout.block_bytes(0)
    if mode is Mode.AES:
        from blindsight.wire import keys

        assert _device.aes_ctr(keys.aes_key(who.secret), parsed.nonce, 0, one.messages[0][1]) == bytes(784)


async def _with_broker(handler: Handler, use: Callable[[int], Awaitable[None]]) -> None:
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    try:
        await use(server.sockets[0].getsockname()[1])
    finally:
        server.close()


async def _packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readexactly(2)
    assert head[1] < 128
    return head[0], await reader.readexactly(head[1])


def test_the_client_subscribes_publishes_and_acknowledges() -> None:
    seen: list[tuple[int, bytes]] = []
    got: list[tuple[str, bytes]] = []

    async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await _packet(reader))
        writer.write(b"\x20\x02\x00\x00")
        seen.append(await _packet(reader))
        writer.write(b"\x90\x03\x00\x01\x01")
        seen.append(await _packet(reader))
        writer.write(b"\x32\x07\x00\x01t\x00\x09hi" + b"\x40\x02\x00\x02")
        seen.append(await _packet(reader))
        writer.close()

    async def use(port: int) -> None:
        link = Link("sim-1", lambda topic, payload: got.append((topic, payload)))
        await link.open("127.0.0.1", port, "a/+")
        await link.publish("t", b"payload")
        with pytest.raises(LinkError):
            await link.publish("t", b"again", timeout=5)
        await link.close()

    asyncio.run(_with_broker(broker, use))
    assert [k for k, _ in seen] == [0x10, 0x82, 0x32, 0x40]
    assert seen[2][1] == b"\x00\x01t" + struct.pack("!H", 2) + b"payload" and seen[3][1] == b"\x00\x09"
    assert got == [("t", b"hi")]


def test_a_refusing_broker_is_an_error() -> None:
    async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _packet(reader)
        writer.write(b"\x20\x02\x00\x05")
        await writer.drain()
        writer.close()

    async def use(port: int) -> None:
        with pytest.raises(LinkError, match="refused"):
            await Link("sim-1", lambda *_: None).open("127.0.0.1", port, "a/+")

    asyncio.run(_with_broker(broker, use))
