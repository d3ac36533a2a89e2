"""Pictures through real Mosquitto and both services as processes (with the insecure engine of
`service_kit`).
"""

import queue
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import service_kit as kit
from postgres_kit import STORES

from blindsight.app.children import DeviceProcess, Events
from blindsight.app.demo import FIRMWARE, find_micropython
from blindsight.app.site import BrokerAddress, Site
from blindsight.wire import keys


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Site]:
    with kit.site(tmp_path_factory.mktemp("site")) as (site, _broker):
        yield site


@pytest.mark.parametrize("mode", ["rlwe", "rlwe-sk", "aes"])
def test_pictures_are_answered(place: kit.Site, mode: str) -> None:
    device = place.device(f"cam-{mode}", mode)
    client = kit.Client(device.name, place.broker_port)
    try:
        for _ in range(3):
            parcel = device.picture()
            client.send(parcel)
            answer = client.wait(parcel)
            assert answer is not None and parcel.open(answer) == kit.label_of(parcel.pixels)
    finally:
        client.close()


@pytest.mark.parametrize("store", STORES)
def test_two_ingress_processes_divide_the_shards(tmp_path: Path, store: str) -> None:
    """Two clouds on one store, each with half of the shards and a worker pair of its own: every device is
    served, each by one. On PostgreSQL they are two machines: nothing but the address of the store is common.
    """
    port = kit.free_port()
    broker = kit.mosquitto(tmp_path / "broker", port)
    place = kit.Site(tmp_path, port, store=store, cloud_extra="# prefix\n")
    text = (tmp_path / "cloud.toml").read_text()
    halves = {"low": ("01234567", "low-"), "high": ("89abcdef", "high-")}
    clouds = {}
    for name, (shards, prefix) in halves.items():
        own = text.replace('data = "cloud"', f'data = "{name}"') if store == "postgres" else text
        (tmp_path / f"{name}.toml").write_text(f'shards = "{shards}"\n{own}prefix = "{prefix}"\n')
        script = [sys.executable, str(kit.HERE / "fake_service.py"), "cloud", str(tmp_path / f"{name}.toml")]
        clouds[name] = kit.Process(script, tmp_path / f"{name}.log")
    try:
        place.helper.start()
        for cloud in clouds.values():
            cloud.start()
        for cloud in clouds.values():
            cloud.until("subscribed")
        names = [f"cam-{i}" for i in range(8)]
        shards_hit = {keys.shard(n) for n in names}
        assert shards_hit & set(halves["low"][0]) and shards_hit & set(halves["high"][0])
        sent = []
        for name in names:
            device = place.device(name)
            client = kit.Client(name, port)
            parcels = [device.picture() for _ in range(3)]
            for parcel in parcels:
                client.send(parcel)
            sent.append((client, parcels))
        for client, parcels in sent:
            for parcel in parcels:
                answer = client.wait(parcel)
                assert answer is not None and parcel.open(answer) == kit.label_of(parcel.pixels)
            client.close()
        for name, cloud in clouds.items():
            seen = {e["device"] for e in cloud.events() if e["event"] == "accepted"}
            assert seen == {n for n in names if keys.shard(n) in halves[name][0]}
        answered = [
            e["image"] for cloud in clouds.values() for e in cloud.events() if e["event"] == "answered"
        ]
        assert len(answered) == len(set(answered)) == 24
        slots = kit.used_slots(tmp_path)
        assert len(slots) == len(set(slots))
    finally:
        for cloud in clouds.values():
            cloud.stop()
        place.stop()
        broker.stop()


def test_a_large_picture_from_the_real_firmware(tmp_path: Path) -> None:
    """224 x 224 x 3 pixels stream from a board with 128 KiB of heap, polynomial by polynomial, and are
    answered.
    """
    pixels = np.random.default_rng(4).integers(0, 256, 224 * 224 * 3, np.uint8).tobytes()
    with kit.site(tmp_path, side=224, channels=3) as (place, _broker):
        site, broker = Site(tmp_path), BrokerAddress(port=place.broker_port)
        folder = site.device("board", "toy", "rlwe", broker, count=1, polys_per_block=8)
        (folder / "frames.bin").write_bytes(pixels)
        events: Events = queue.Queue()
        device = DeviceProcess(find_micropython(""), FIRMWARE, folder, events)
        seen: dict[str, dict[str, Any]] = {}
        while "done" not in seen:
            _, _, event = events.get(timeout=60)
            assert event["event"] != "exit", event
            seen[event["event"]] = event
        device.stop()
        assert seen["result"]["index"] == kit.label_of(pixels)
        assert seen["published"]["blocks"] == 19 and seen["published"]["bytes"] > 560_000
        assert seen["heap"]["peak"] <= 128 * 1024
