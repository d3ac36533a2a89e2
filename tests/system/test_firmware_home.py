"""Telemetry and answers for the owner's home: announced as Home Assistant wants it, answers on a second broker alone."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import firmware_lab as lab

from blindsight.app.children import free_port

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "vectors" / "home_assistant_discovery.schema.json").read_text()
)


class Recorder:
    """What a broker's clients publish there; the lab's servers see only what is theirs."""

    def __init__(self, servers: lab.Servers | None = None) -> None:
        self.servers = servers
        self.heard: list[tuple[str, bytes]] = []
        self.broker = lab.Broker(self.receive)
        self._lock = threading.Lock()

    def receive(self, topic: str, payload: bytes) -> list[tuple[str, bytes]]:
        with self._lock:
            self.heard.append((topic, payload))
        if self.servers is not None and topic.startswith("bs1/"):
            return self.servers.receive(topic, payload)
        return []

    def json(self, end: str) -> list[dict[str, Any]]:
        return [json.loads(p) for t, p in self.heard if t.endswith(end)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator["Bench"]:
    b = Bench(tmp_path)
    yield b
    lab.Device.reap()
    b.cloud.broker.close()
    b.own.broker.close()


class Bench:
    def __init__(self, tmp_path: Path) -> None:
        self.provision = lab.Provision(tmp_path / "device", count=2)
        self.provision.set_frames(2)
        self.cloud = Recorder(lab.Servers(self.provision))
        self.own = Recorder()
        self.provision.config["broker"]["port"] = self.cloud.broker.port

    def run(self, home: dict[str, Any]) -> lab.Device:
        self.provision.config["home"] = home
        self.provision.write()
        device = lab.Device(self.provision.path)
        device.wait(60)
        return device

    def second(self, **more: Any) -> dict[str, Any]:
        return {"host": "127.0.0.1", "port": self.own.broker.port, **more}


def test_without_a_second_broker_the_cloud_s_hears_telemetry_and_no_answer(bench: Bench) -> None:
    device = bench.run({"discovery": True, "energy_mj": 850})
    assert device.process.returncode == 0, device.stderr
    assert len(device.of("result")) == 2
    (message,) = bench.cloud.json("/config")
    jsonschema.validate(message, SCHEMA)
    assert set(message["components"]) == {"state", "heap", "pending", "energy"}
    assert {c["expire_after"] for c in message["components"].values()} == {3 * (60 + 5) + 60}
    state = bench.cloud.json("/status")[-1]
    assert state["heap"] > 10_000 and state["energy"] == 1.7 and state["state"] == "offline"
    assert max(len(p) for t, p in bench.cloud.heard if t.endswith("/status")) < 512
    nothing_of_the_answers(bench, device)


def nothing_of_the_answers(bench: Bench, device: lab.Device) -> None:
    """What went to the cloud's broker beside blocks and manifests names no class."""
    allowed = {"bs1", "homeassistant"}
    for topic, payload in bench.cloud.heard:
        assert topic.split("/")[0] in allowed
        if "/up/" in topic:
            continue
        text = payload.decode()
        assert "index" not in text and "label" not in text and "esult" not in text.replace("blindsight", "")
        for e in device.of("result"):
            assert e["label"] not in text


def test_answers_go_to_the_owner_s_broker(bench: Bench) -> None:
    """Within 128 KiB of heap."""
    device = bench.run({"result": True, "broker": bench.second()})
    assert device.process.returncode == 0, device.stderr
    (message,) = bench.own.json("/config")
    jsonschema.validate(message, SCHEMA)
    expiry = {name: c.get("expire_after") for name, c in message["components"].items()}
    assert expiry == {"state": 255, "heap": 255, "pending": 255, "result": None}
    got = {m["image"]: m for m in bench.own.json("/result")}
    assert len(got) == 2
    for e in device.of("result"):
        assert got[e["image"]]["index"] == e["index"] and got[e["image"]]["label"] == e["label"]
        assert all(not isinstance(v, dict | list) for v in got[e["image"]].values())
    assert {t.split("/")[0] for t, _ in bench.own.heard} == {"blindsight", "homeassistant"}
    assert {t.split("/")[0] for t, _ in bench.cloud.heard} == {"bs1"}
    nothing_of_the_answers(bench, device)


def test_a_second_broker_that_is_away_costs_nothing(bench: Bench) -> None:
    second = bench.second()
    bench.own.broker.close()
    device = bench.run({"result": True, "broker": second})
    assert device.process.returncode == 0, device.stderr
    assert len(device.of("result")) == 2 and device.of("home")[0]["reason"]


@pytest.mark.parametrize("second", [True, False])
def test_a_sleeping_board_expires_after_three_of_its_sleeps(bench: Bench, second: bool) -> None:
    """Another interval, asked for by command, is announced before the sleep."""
    from blindsight.wire import topics

    bench.provision.config |= {"count": 0, "interval_s": 600, "sleep": "deep", "awake_s": 20}
    name = bench.provision.device
    bench.cloud.broker.send(name, f"{topics.base(name)}/cmd/interval", b"1200")
    device = bench.run({"broker": bench.second()} if second else {"discovery": True})
    assert device.process.returncode == 0, device.stderr
    assert device.of("interval") and device.events[-1]["event"] == "sleep"
    broker = bench.own if second else bench.cloud
    said = broker.json("/config")
    for message in said:
        jsonschema.validate(message, SCHEMA)
    found = [{c["expire_after"] for c in message["components"].values()} for message in said]
    assert found[0] in ({3 * (620 + 5) + 60}, {3 * (1220 + 5) + 60})  # the command may come first
    assert found[-1] == {3 * (1220 + 5) + 60}
    assert broker.json("/status")[-1]["state"] == "sleeping"


def test_the_owner_s_broker_hears_of_the_board_while_the_cloud_s_is_away(bench: Bench) -> None:
    """An expiry would otherwise call a board dead that works on."""
    bench.provision.config["broker"]["port"] = free_port()
    bench.provision.config["home"] = {"every_s": 10, "broker": bench.second()}
    bench.provision.write()
    device = lab.Device(bench.provision.path)
    deadline = time.monotonic() + 60
    while len(bench.own.json("/status")) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    device.kill()
    (message,) = bench.own.json("/config")
    assert message["components"]["state"]["expire_after"] == 3 * (10 + 5) + 60
    assert [m["state"] for m in bench.own.json("/status")[:2]] == ["disconnected"] * 2
    assert device.of("offline") and not device.of("connected")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"result": True}, "home.result needs home.broker"),
        ({"broker": {"host": "127.0.0.1"}}, "home.broker needs host and port"),
        ({"broker": "cloud"}, "home.broker is the cloud's broker"),
        ({"broker": "localhost"}, "home.broker is the cloud's broker"),
        ({"broker": "LocalHost."}, "home.broker is the cloud's broker"),
        ({"colour": 1}, "home.colour is unknown"),
    ],
)
def test_settings_that_would_tell_the_cloud_are_refused(
    bench: Bench, change: dict[str, Any], message: str
) -> None:
    broker = change.get("broker")
    if isinstance(broker, str):
        host = "127.0.0.1" if broker == "cloud" else broker
        change = {"result": True, "broker": {"host": host, "port": bench.cloud.broker.port}}
    device = bench.run(change)
    assert device.process.returncode == 2
    assert message in device.stderr and device.stderr.count("\n") == 1
    assert bench.cloud.heard == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"every_s": "soon"}, "home.every_s is a number from 0 to 432000"),
        ({"every_s": 1e9}, "home.every_s is a number from 0 to 432000"),
        ({"energy_mj": [1]}, "home.energy_mj is a number"),
        ({"broker": {"host": "10.0.0.2", "port": "1883"}}, "home.broker needs host and port"),
        ({"broker": {"host": 7, "port": 1883}}, "home.broker needs host and port"),
    ],
)
def test_settings_of_the_wrong_kind(bench: Bench, change: dict[str, Any], message: str) -> None:
    device = bench.run(change)
    assert device.process.returncode == 2
    assert message in device.stderr and device.stderr.count("\n") == 1


def test_one_host_is_one_broker_whatever_the_port(bench: Bench) -> None:
    bench.provision.config["broker"]["host"] = "broker.example"
    device = bench.run({"result": True, "broker": {"host": "Broker.Example.", "port": 1}})
    assert device.process.returncode == 2 and "is the cloud's broker" in device.stderr


def test_the_cloud_s_topics_on_the_second_broker(bench: Bench) -> None:
    """A second broker that turns out to carry the device's own status (the cloud's, by another way): the answers are
    thrown away and the device says why.
    """
    from blindsight.wire import topics

    heard: list[str] = []

    def fault(what: str) -> str | None:
        if what == "subscribe":
            name = f"blindsight-{bench.provision.device}"
            threading.Timer(
                0.05,
                bench.own.broker.send,
                (name, topics.status(bench.provision.device), b'{"state": "online"}'),
            ).start()
        heard.append(what)
        return None

    bench.own.broker.fault = fault
    device = bench.run({"result": True, "broker": bench.second()})
    assert device.process.returncode == 0, device.stderr
    assert "topics are heard" in device.of("home")[0]["refused"]
    assert bench.own.heard == [] and len(device.of("result")) == 2
