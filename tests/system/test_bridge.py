"""The bridge between the owner's broker and the cloud's: it answers, and it never tells the cloud's broker an answer."""

import asyncio
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import paho.mqtt.client as mqtt
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
sys.path.insert(0, str(Path(__file__).parent))
import service_kit as kit
from leash import running
from proxy import Proxy, mqtt_packet

from blindsight.app import certificates
from blindsight.app.site import BrokerAddress, Site
from blindsight.client import Broker, Client, home, separate
from blindsight.client.bridge import Bridge, Options
from blindsight.client.separate import SameBroker

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "vectors" / "home_assistant_discovery.schema.json").read_text()
)
# Long enough not to come up by chance in what is encrypted: the cloud's broker is searched for them.
LABELS = [
    *("aardvark", "bumblebee", "cormorant", "dragonfly", "elephant"),
    *("flamingo", "grasshopper", "hedgehog", "ichneumon", "jackrabbit"),
]


class Tap:
    """Everything that passes a broker, and a way to say something there."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[str, bytes]] = []
        ready = threading.Event()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda c, *_: c.subscribe("#", 1)
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.on_message = lambda _c, _d, m: self.heard.append((m.topic, bytes(m.payload)))
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert ready.wait(10)

    def of(self, end: str) -> list[dict[str, Any]]:
        return [json.loads(p) for t, p in list(self.heard) if t.endswith(end) and p]

    def until(self, test: Callable[[], bool], seconds: float = 40) -> None:
        deadline = time.monotonic() + seconds
        while not test():
            assert time.monotonic() < deadline, self.heard
            time.sleep(0.02)

    def close(self) -> None:
        """After all that the broker has had until now was heard: a mark sent now comes after it."""
        mark = ("end", os.urandom(8).hex().encode())
        self.client.publish(*mark, 1)
        self.until(lambda: mark in self.heard)
        self.heard.remove(mark)
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Site]:
    with kit.site(tmp_path_factory.mktemp("site")) as (site, _broker):
        yield site


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The owner's own broker."""
    port = kit.free_port()
    broker = kit.mosquitto(tmp_path_factory.mktemp("own"), port)
    yield port
    broker.stop()


def enrol(place: kit.Site, name: str, **settings: Any) -> Path:
    broker = BrokerAddress(port=place.broker_port)
    provision = place.device(name).provision
    return Site(place.folder / "site").write_device(
        provision, place.plan, "rlwe", broker, {"labels": LABELS, **settings}
    )


def test_pictures_from_the_owners_broker_are_answered_there_alone(
    place: kit.Site, own: int, tmp_path: Path
) -> None:
    """By the command, with a PNG, raw pixels and noise; what the cloud's broker hears is what it hears of a board."""
    folder = enrol(place, "hall")
    cloud_side, owner_side = Tap(place.broker_port), Tap(own)
    (tmp_path / "bridge.toml").write_text(
        f'identity = "{folder}"\ndiscovery = true\n[second_broker]\nhost = "127.0.0.1"\nport = {own}\n'
    )
    command = [
        sys.executable,
        "-m",
        "blindsight.app.cli",
        "bridge",
        "--config",
        str(tmp_path / "bridge.toml"),
    ]
    with running(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr and process.stderr.readline() == "blindsight bridge: ready\n"
        picture = np.random.default_rng(1).integers(0, 256, (16, 16), dtype=np.uint8)
        png = io.BytesIO()
        Image.fromarray(picture).save(png, "PNG")
        for payload in (png.getvalue(), picture.tobytes(), b"not a picture"):
            before = len(owner_side.of("/result"))
            owner_side.client.publish("blindsight/hall/picture", payload, 1)
            owner_side.until(lambda n=before: len(owner_side.of("/result")) > n)  # type: ignore[misc]
        owner_side.until(lambda: owner_side.of("hall/state")[-1]["failed"] == 1)
        process.terminate()
        assert process.wait(60) == 0
    a, b, c = owner_side.of("/result")
    expected = kit.label_of(picture.tobytes())
    for message in (a, b):
        assert message["index"] == expected and message["label"] == LABELS[expected]
        assert message["device"] == "hall" and message["latency_s"] > 0
        assert all(not isinstance(v, dict | list) for v in message.values()), "flat, for Node-RED"
    assert "not a picture" in c["error"] and "index" not in c
    owner_side.until(lambda: ("blindsight/hall/availability", b"offline") in owner_side.heard)
    (topic,) = {t for t, _ in owner_side.heard if t.startswith("homeassistant/")}
    assert re.fullmatch(r"homeassistant/device/[a-zA-Z0-9_-]+/config", topic)
    jsonschema.validate(owner_side.of("/config")[0], SCHEMA)
    for tap in (cloud_side, owner_side):
        tap.close()
    assert LABELS[expected] in f"{owner_side.heard!r}"  # what the search below would find
    assert len(cloud_side.heard) >= 10  # status twice; block, manifest, receipt, result of two pictures
    for topic, payload in cloud_side.heard:
        assert re.fullmatch(r"bs1/./hall/(up|down)/[0-9a-f]{32}(/\w+)?|bs1/./hall/status", topic)
        assert not any(label in f"{topic} {payload!r}".lower() for label in LABELS)
        assert b"index" not in payload and picture.tobytes()[:16] not in payload


def test_discovery_fits_the_documented_schema(place: kit.Site) -> None:
    folder = enrol(place, "schema")
    who = Client(folder).identity
    message = home.discovery(who, "0.1.0")
    jsonschema.validate(message, SCHEMA)
    assert message["components"]["result"]["options"] == LABELS
    for name in message["components"]:  # the schema itself refuses what Home Assistant would
        broken = json.loads(json.dumps(message))
        broken["components"][name] |= {"device_class": "signal_strength", "unit_of_measurement": "s"}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, SCHEMA)


def refused(bridge: Bridge) -> str:
    with pytest.raises(SameBroker) as error:
        asyncio.run(asyncio.wait_for(bridge.run(), 30))
    assert "it would tell the cloud the answer" in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST.", "127.0.0.2"])
def test_the_same_broker_by_name_alias_or_address(place: kit.Site, host: str) -> None:
    folder = enrol(place, "alias")
    tap = Tap(place.broker_port)
    with pytest.raises(SameBroker):
        Bridge(Client(folder), Broker(host, place.broker_port, ca=folder / "config.json"))
    tap.close()
    assert tap.heard == [] or all(t.endswith("status") for t, _ in tap.heard)


def test_two_names_of_one_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever the port: the machine is the cloud's."""
    known = {
        "broker.cloud.example": ["192.0.2.7", "2001:db8::7"],
        "mine.example": ["::ffff:192.0.2.7"],
        "other.example": ["192.0.2.8"],
    }

    def resolve(host: str, *_: Any) -> list[Any]:
        if host not in known:
            raise socket.gaierror
        return [(0, 0, 0, "", (address, 0)) for address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    ca = tmp_path / "ca.pem"
    cloud = Broker("broker.cloud.example", 8883, ca)
    with pytest.raises(SameBroker, match=r"one machine, 192\.0\.2\.7"):
        separate.refuse_same(cloud, Broker("mine.example", 1884, ca))
    with pytest.raises(SameBroker, match="same host and port"):
        separate.refuse_same(cloud, Broker("Broker.Cloud.Example.", 8883, ca))
    separate.refuse_same(cloud, Broker("other.example", 8883, ca))
    separate.refuse_same(cloud, Broker("unknown.example", 8883, ca))


def test_the_clouds_broker_behind_another_address(place: kit.Site, own: int) -> None:
    """A forwarded port: name, address and port differ, but the cloud's topics are heard. Nothing is published."""
    folder = enrol(place, "behind")
    tap, proxy = Tap(place.broker_port), Proxy(place.broker_port, mqtt_packet)
    try:
        assert "topics are heard" in refused(Bridge(Client(folder), Broker("127.0.0.1", proxy.port)))
    finally:
        tap.close()
        proxy.close()
    assert {t.split("/")[0] for t, _ in tap.heard} == {"bs1"}


def test_the_second_broker_that_becomes_the_clouds(place: kit.Site, own: int) -> None:
    """The owner's name begins to lead to the cloud's broker while the bridge runs: it ends and says why, and the answer
    that was due does not go out.
    """
    folder = enrol(place, "rebind")
    tap, proxy = Tap(place.broker_port), Proxy(own, mqtt_packet)

    async def run() -> None:
        bridge = Bridge(Client(folder), Broker("127.0.0.1", proxy.port))
        ready = asyncio.Event()
        task = asyncio.create_task(bridge.run(ready))
        await asyncio.wait_for(ready.wait(), 20)
        proxy._target = place.broker_port
        proxy.cut()
        with pytest.raises(SameBroker):
            await asyncio.wait_for(task, 30)

    try:
        asyncio.run(run())
    finally:
        tap.close()
        proxy.close()
    assert not any(t.endswith("/result") for t, _ in tap.heard)


def test_one_certificate_on_two_ports(tmp_path: Path) -> None:
    """Two listeners of one TLS broker: the addresses say nothing on loopback, the certificate does."""
    certificates.make(tmp_path / "tls")
    ports = (kit.free_port(), kit.free_port())
    tls = "".join(f"{k} {tmp_path / 'tls' / v}\n" for k, v in (
        ("cafile", "ca.pem"), ("certfile", "broker.pem"), ("keyfile", "broker.key"),
    ))  # fmt: skip
    broker = kit.mosquitto(
        tmp_path / "broker", ports[0], f"{tls}listener {ports[1]} 127.0.0.1\n{tls}allow_anonymous true"
    )
    place = kit.Site(tmp_path, ports[0])
    folder = enrol(place, "cert")
    try:
        ca = tmp_path / "tls" / "ca.pem"
        client = Client(folder, Broker("localhost", ports[0], ca))
        assert "both show the certificate" in refused(
            Bridge(client, Broker("localhost", ports[1], ca), Options(quiet_s=0.1))
        )
    finally:
        broker.stop()


def test_the_example_flow_hangs_together() -> None:
    """Every wire of the Node-RED flow ends at a node, every MQTT node names the broker, topics are the bridge's."""
    folder = Path(__file__).parents[2] / "examples" / "integrations"
    nodes = {n["id"]: n for n in json.loads((folder / "node-red-flow.json").read_text())}
    for node in nodes.values():
        assert all(end in nodes for output in node.get("wires", []) for end in output)
        if node["type"] in ("mqtt in", "mqtt out"):
            assert nodes[node["broker"]]["type"] == "mqtt-broker"
            assert re.fullmatch(r"blindsight/(\+|[a-z0-9-]+)/(result|picture)", node["topic"])
            assert node.get("retain", "false") == "false"
    text = (folder / "home-assistant.yaml").read_text()
    names = {"result", "latency", "pictures_waiting", "pictures_failed"}
    assert set(re.findall(r"sensor\.blindsight_hall_(\w+)", text)) == names
