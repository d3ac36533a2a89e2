"""The fleet's timetable repeats; its MQTT client speaks to a broker; its parcels are what the cloud takes."""

import asyncio
import itertools
import json
import statistics
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from blindsight import _device
from blindsight.client.encrypt import encrypt
from blindsight.client.identity import Identity
from blindsight.hw import profiles
from blindsight.simulator.cost import CostError, Workload, cost
from blindsight.simulator.fleet import Day, Fleet, Group, Spec, Watch, draw
from blindsight.simulator.fleet.groups import parse
from blindsight.simulator.fleet.mqtt import Link, LinkError
from blindsight.wire import manifest, topics
from blindsight.wire.blocks import Mode, commitment

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


SPEC = {"mnist": Spec(28, 28, 1, 10)}


def day(fleet: Fleet, **values: Any) -> Day:
    return draw(fleet.override(**values), SPEC, profiles.HERE)


def test_the_day_is_the_seed_s() -> None:
    """The whole of what the model puts out, to the last digit; and another seed's is another."""
    fleet = Fleet((Group(devices=20, each=3, cut=0.3, latency_s=0.1, battery_mah=30, charge=(0.001, 0.5)),))
    one, two, other = day(fleet, seed=1), day(fleet, seed=1), day(fleet, seed=2)
    assert one == two and json.dumps(one.outputs) == json.dumps(two.outputs)
    assert one.outputs["timetable_sha256"] != other.outputs["timetable_sha256"]
    assert len(one.plans) + sum(g["not_taken"] for g in one.outputs["groups"]) == 60
    assert [p.at for p in one.plans] == sorted(p.at for p in one.plans)
    assert all(0 <= p.at <= 60 and 0 <= p.picture < 10 and len(p.delays) == 2 for p in one.plans)
    assert 0 < sum(p.cut for p in one.plans) < 40
    calm = day(Fleet((Group(devices=20, cut=0, latency_s=0),)))
    assert not any(p.cut or sum(p.delays) for p in calm.plans)


def test_a_digest_that_must_not_drift() -> None:
    """The same on every machine and in every release of Python: another digest is another meaning of old scenarios."""
    fleet = Fleet(
        (Group(devices=3, each=2, duty="periodic", loss=0.2, clock_skew_s=3, clock_drift_ppm=200),), seed=11
    )
    assert day(fleet).outputs["timetable_sha256"] == DIGEST


DIGEST = "27776e6fe59b778fcb9dd8cb6927884f8fbd42d9bafe3053d82dff5927b54c36"


def test_a_group_more_changes_no_other() -> None:
    a, b = Group(name="a", devices=5), Group(name="b", devices=5)
    both, alone = day(Fleet((a, b))), day(Fleet((a,)))
    assert [p for p in both.plans if p.device < 5] == alone.plans


def test_duties() -> None:
    def times(duty: str, **more: Any) -> list[list[float]]:
        got = day(Fleet((Group(devices=40, each=4, duty=duty, **more),)))
        return [[p.at for p in got.plans if p.device == d] for d in range(40)]

    assert all(t == [0, 15, 30, 45] for t in times("aligned"))
    for t in times("periodic"):
        assert [round(b - a, 9) for a, b in itertools.pairwise(t)] == [15, 15, 15]
    off = [t[1] - 15 * round(t[1] / 15) for t in times("aligned", clock_skew_s=2)]
    assert max(off) > 0.5 and min(off) < -0.5 and all(abs(s) <= 2 for s in off)
    fast = [t[3] - 45 for t in times("aligned", clock_drift_ppm=1000)]
    assert any(fast) and all(abs(s) <= 0.0451 for s in fast)
    counts = [len(t) for t in times("poisson")]
    assert min(counts) < 4 < max(counts) and 3 < statistics.mean(counts) < 5
    for duty in ("uniform", "poisson", "periodic"):  # a tenth of a picture each
        few = day(Fleet((Group(devices=1000, each=0, per_day=144, duty=duty),), seconds=60))
        assert 60 < len(few.plans) < 150


def test_lost_messages_wait_for_tcp() -> None:
    waits = [d for p in day(Fleet((Group(devices=400, latency_s=0, loss=0.25),))).plans for d in p.delays]
    assert {round(w, 6) for w in waits} >= {0, 0.3, 0.9}
    assert 0.7 < sum(w == 0 for w in waits) / len(waits) < 0.8


def test_a_cell_that_empties_takes_its_device_with_it() -> None:
    """By hand: what is in the cell, what a picture and sleeping take of it."""
    group = Group(devices=30, each=0, per_day=2400, cut=0, battery_mah=100, charge=(0.0, 0.15))
    got = day(Fleet((group,), hours=1))
    (row,) = got.outputs["groups"]
    assert 0 < row["deaths"] < 30 and row["deaths"] == got.outputs["deaths"]
    work = Workload(height=28, width=28, per_day=2400, battery_mah=100)
    price = cost(profiles.HERE, "esp32-c3", work)
    sleep_w = price.sleep_ma.mid * price.volts.mid / 1e3
    for number, m in enumerate(got.members):
        own = [p for p in got.plans if p.device == number]
        assert all(m.dies_at is None or p.at <= m.dies_at for p in own) and m.spent <= m.joules
        assert sum(p.dies for p in own) <= 1 and not any(p.dies for p in own[:-1])
        spent = len(own) * price.millijoules.mid / 1e3 + sleep_w * 3600
        if m.dies_at is None:
            assert m.spent == pytest.approx(spent)
        else:
            assert m.spent == m.joules <= spent
    assert row["joules"] == pytest.approx(sum(m.spent for m in got.members), rel=1e-5)
    assert row["unfinished"] == sum(p.dies for p in got.plans)
    first = row["first_device"]
    assert first["taken_s"] == [round(p.at, 3) for p in got.plans if p.device == 0]
    assert [c for _, c in first["charge"]] == sorted((c for _, c in first["charge"]), reverse=True)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"devises": 3}, "devises"),
        ({"devices": "many"}, "devices"),
        ({"group": [{"name": "a", "duty": "never"}]}, "duty"),
        ({"group": [{"ingest": "rot13"}]}, "rot13"),
        ({"group": [{"name": "a"}, {"name": "a"}]}, "name"),
        ({"outage": [{"at": 1}]}, "outage"),
        ({"outage": [{"at": 1, "for": 1, "group": "nobody"}]}, "outage"),
        ({"broker_restart": [{"at": 1, "down": -1}]}, "restart"),
        ({"charge": [0.5]}, "charge"),
        ({"group": [{"name": "A B"}]}, "name"),
        ({"loss": 0.9}, "loss"),
        ({"devices": 20000}, "devices"),
    ],
)
def test_bad_fleets_are_one_line(table: dict[str, Any], why: str) -> None:
    with pytest.raises(CostError, match=why) as error:
        parse(table)
    assert "\n" not in str(error.value)


def test_entries_of_the_fleet_are_every_group_s() -> None:
    got = parse(
        {
            "cut": 0.5,
            "seconds": 9,
            "group": [{"name": "a", "devices": 1}, {"name": "b", "cut": 0.1, "devices": 2}],
        }
    )
    assert [g.cut for g in got.groups] == [0.5, 0.1] and got.seconds == 9
    assert [g.devices for g in got.override(devices=10).groups] == [3, 7]
    assert [g.firmware for g in got.override(firmware=3).groups] in ([2, 1], [1, 2])
    assert parse({"each": 2}).groups == (Group(each=2),)


def test_memory_s_slope() -> None:
    watch = Watch(lambda: {})
    watch.at = [float(t) for t in range(101)]
    watch.rss = {"x": [10 + min(t, 20) + 0.1 * t for t in range(101)]}
    got = watch.memory()["x"]
    assert got["start"] == 10 and got["most"] == got["end"] == 40
    assert got["mb_per_minute"] == pytest.approx(6.0)


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
