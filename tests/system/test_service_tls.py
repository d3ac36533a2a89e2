"""Mosquitto as `blindsight broker config` sets it up, TLS on: the right authority is accepted, the wrong one
refused, and a device can do no more than its own. The server link is mutual TLS in all of it.
"""

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import service_kit as kit

from blindsight.app import certificates
from blindsight.app.site import CLOUD_USER, BrokerAddress, Site
from blindsight.wire import topics


class Place:
    """A set-up made by the product's own commands, on a Mosquitto configured by them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, kit.free_port()
        self.site = Site(folder / "site")
        self.ca = folder / "site" / "tls" / "ca.pem"
        address = BrokerAddress("localhost", self.port, self.ca, CLOUD_USER, self.site.account(CLOUD_USER))
        self.site.init(
            address, kit.free_port(), cloud="material_low = 2\nmaterial_high = 4\nretry_s = 0.05\n"
        )
        self.site.add_model(kit.toy_model(folder / "model"))
        self.devices = {name: self._enrol(name) for name in ("cam-1", "cam-2")}
        out = folder / "broker"
        command = [
            sys.executable,
            "-m",
            "blindsight.app.cli",
            "broker",
            "config",
            "--site",
            str(self.site.folder),
        ]
        subprocess.run(
            [*command, "--out", str(out), "--port", str(self.port)], check=True, capture_output=True
        )
        assert all(p not in (out / "passwords").read_text() for p in self.site.accounts.values())
        with open(out / "mosquitto.conf", "a") as conf:
            conf.write("user root\n")
        assert kit.MOSQUITTO
        self.broker = kit.Process(
            [kit.MOSQUITTO, "-c", str(out / "mosquitto.conf")], folder / "mosquitto.log"
        ).start()
        kit.wait_port(self.port)
        script = [sys.executable, str(kit.HERE / "fake_service.py")]
        self.helper = kit.Process(
            [*script, "helper", str(self.site.helper_toml)], folder / "helper.log"
        ).start()
        self.cloud = kit.Process([*script, "cloud", str(self.site.cloud_toml)], folder / "cloud.log").start()
        self.cloud.until("subscribed")

    def _enrol(self, name: str) -> kit.Device:
        self.site.account(name)
        register = self.site.register()
        provision = register.provision(name)
        register.close()
        plan = self.site.models.plan(self.site.models.active("toy"))
        return kit.Device(provision, plan)

    def client(self, name: str, password: str = "") -> mqtt.Client:
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"test-{name}-{time.monotonic_ns()}")
        client.tls_set(str(self.ca))
        client.username_pw_set(name, password or self.site.accounts[name])
        return client

    def stop(self) -> None:
        for process in (self.cloud, self.helper, self.broker):
            process.stop()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    here = Place(tmp_path_factory.mktemp("tls"))
    yield here
    here.stop()


def exchange(
    place: Place, user: str, publish: list[tuple[str, bytes]], read: str, seconds: float = 4
) -> list[mqtt.MQTTMessage]:
    """What `user` hears under `read` after publishing; whatever the broker does not allow is silently
    dropped.
    """
    heard: list[mqtt.MQTTMessage] = []
    ready = threading.Event()
    client = place.client(user)
    client.on_connect = lambda c, *_: c.subscribe(read, 1)
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = lambda _c, _d, message: heard.append(message)
    client.connect("localhost", place.port)
    client.loop_start()
    assert ready.wait(5)
    for topic, payload in publish:
        client.publish(topic, payload, qos=1)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and len({message.payload for message in heard}) < 2:
        time.sleep(0.05)
    client.disconnect()
    client.loop_stop()
    return heard


def test_pictures_over_tls(place: Place) -> None:
    device = place.devices["cam-1"]
    parcel = device.picture()
    read = f"{topics.base('cam-1')}/down/{parcel.image.hex()}"
    heard = exchange(place, "cam-1", parcel.messages(), read, 20)
    said = list(dict.fromkeys(message.payload for message in heard))  # at least once on the wire
    assert len(said) == 2  # receipt, result
    assert parcel.open(said[1]) == kit.label_of(parcel.pixels)


def test_another_device_can_neither_publish_nor_listen(place: Place) -> None:
    """cam-2 plays cam-1's genuine messages and listens for the answer: it hears nothing, and the cloud sees
    nothing.
    """
    parcel = place.devices["cam-1"].picture()
    heard = exchange(place, "cam-2", parcel.messages(), f"{topics.base('cam-1')}/down/+", 1.5)
    assert heard == []
    assert parcel.image.hex() not in place.cloud.log.read_text()
    everything = exchange(place, "cam-2", place.devices["cam-2"].picture().messages(), "#", 1.5)
    assert all(m.topic.startswith(topics.base("cam-2") + "/") for m in everything)


def test_wrong_authority_wrong_password(place: Place, tmp_path: Path) -> None:
    certificates.make(tmp_path / "other")
    context = ssl.create_default_context(cafile=str(tmp_path / "other" / "ca.pem"))
    with (
        socket.create_connection(("localhost", place.port)) as raw,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        context.wrap_socket(raw, server_hostname="localhost")
    codes: list[object] = []
    client = place.client("cam-1", password="wrong")
    client.on_connect = lambda _c, _d, _f, code, *_: codes.append(code)
    client.connect("localhost", place.port)
    client.loop_start()
    deadline = time.monotonic() + 5
    while not codes and time.monotonic() < deadline:
        time.sleep(0.02)
    client.loop_stop()
    client.disconnect()
    assert codes and codes[0].is_failure  # type: ignore[attr-defined]


def test_the_helper_refuses_a_stranger_and_stays(place: Place, tmp_path: Path) -> None:
    """Without the deployment's certificate, or with a broker's, nobody speaks to the helper."""
    from blindsight.channel import ChannelError, TlsFiles, tls_connect
    from blindsight.cloud.config import CloudConfig
    from blindsight.service.config import load

    link = load(CloudConfig, place.site.cloud_toml).helper
    certificates.make(tmp_path / "other")
    own = place.folder / "site" / "tls"
    for folder, name in ((tmp_path / "other", "cloud"), (own, "broker")):
        files = TlsFiles(own / "ca.pem", folder / f"{name}.pem", folder / f"{name}.key", "helper.blindsight")
        with pytest.raises(ChannelError):
            tls_connect(0, files, "127.0.0.1", link.port, {"pair": "w9", "models": {}}, 5)
    test_pictures_over_tls(place)


def test_connections_that_stall_hold_up_nobody(place: Place) -> None:
    """Forty clients that connect to the helper and say nothing, or noise: pictures go on."""
    from blindsight.cloud.config import CloudConfig
    from blindsight.service.config import load

    port = load(CloudConfig, place.site.cloud_toml).helper.port
    with contextlib.ExitStack() as stack:
        stalled = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(40)]
        for sock in stalled[::2]:
            sock.send(os.urandom(20))
        place.cloud.ready()
        connected = place.cloud.count("helper-connected")
        place.cloud.stop()
        place.cloud.start()  # has to get through the handshake beside them
        place.cloud.until("helper-connected", connected + 1)
        place.cloud.ready()
        test_pictures_over_tls(place)


def test_the_cloud_refuses_a_broker_of_another_authority(place: Place, tmp_path: Path) -> None:
    certificates.make(tmp_path / "other")
    folder = tmp_path / "cloud"
    shutil.copytree(place.folder / "site", folder, ignore=shutil.ignore_patterns("material", "*.db*"))
    text = (folder / "cloud.toml").read_text()
    (folder / "cloud.toml").write_text(
        text.replace(str(place.ca.resolve()), str(tmp_path / "other" / "ca.pem"))
    )
    script = [sys.executable, str(kit.HERE / "fake_service.py"), "cloud", str(folder / "cloud.toml")]
    process = kit.Process(script, tmp_path / "cloud.log").start()
    try:
        process.until("broker-unreachable")
        assert process.count("broker-connected") == 0
        assert "certificate verify failed" in (tmp_path / "cloud.log").read_text()
    finally:
        process.stop()
