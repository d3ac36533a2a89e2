"""A set-up made by the product's own commands, on a Mosquitto configured by them: TLS, accounts or certificates."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import ssl
import sys
import threading
import time
from pathlib import Path

import paho.mqtt.client as mqtt
import service_kit as kit

from blindsight.app import cli
from blindsight.app.site import CLOUD_USER, Site
from blindsight.helper.keys import Provision
from blindsight.wire import topics

DEVICES = ("cam-1", "cam-2")


def command(*arguments: object) -> str:
    """`blindsight ...`, in this process; its standard output. Raises what its command raises."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        cli.build()([str(a) for a in arguments], standalone_mode=False)
    return out.getvalue()


class Place:
    """`identity`: `password` or `certificate`. Both services run with the fake engine."""

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder, self.identity, self.port = folder, identity, kit.free_port()
        self.site = Site(folder / "site")
        self.ca = folder / "site" / "tls" / "ca.pem"
        self.conf = folder / "broker" / "mosquitto.conf"
        option = "--accounts" if identity == "password" else "--certificates"
        model = kit.toy_model(folder / "model")
        command("keys", "init", self.site.folder, "--model", model, "--broker-host", "localhost",
                "--broker-port", self.port, "--broker-ca", "own", option, "--link-port", kit.free_port())  # fmt: skip
        with open(self.site.cloud_toml, "a") as toml:
            toml.write("material_low = 2\nmaterial_high = 4\nretry_s = 0.05\n")
        for name in DEVICES:
            self.enrol(name)
        self.configure()
        assert kit.MOSQUITTO
        self.broker = kit.Process([kit.MOSQUITTO, "-c", str(self.conf)], folder / "mosquitto.log").start()
        kit.wait_port(self.port)
        script = [sys.executable, str(kit.HERE / "fake_service.py")]
        self.helper = kit.Process(
            [*script, "helper", str(self.site.helper_toml)], folder / "helper.log"
        ).start()
        self.cloud = kit.Process([*script, "cloud", str(self.site.cloud_toml)], folder / "cloud.log").start()
        self.cloud.until("subscribed")

    def enrol(self, name: str) -> None:
        """Enrols a device, or begins its next epoch."""
        command("keys", "device", name, "--site", self.site.folder, "--model", "toy")

    def configure(self) -> None:
        """Writes the broker's files anew; it reads them at its next start."""
        command(
            "broker", "config", "--site", self.site.folder, "--out", self.conf.parent, "--port", self.port
        )
        with open(self.conf, "a") as conf:
            conf.write("user root\n")

    def restart_broker(self) -> None:
        self.broker.stop()
        self.broker.start()
        kit.wait_port(self.port)

    def device(self, name: str) -> kit.Device:
        """The device as its own folder describes it."""
        folder = self.site.folder / "devices" / name
        epoch = json.loads((folder / "config.json").read_text())["epoch"]
        read = (folder / "secret.bin").read_bytes(), (folder / "pk.bin").read_bytes()
        return kit.Device(
            Provision(name, epoch, *read), self.site.models.plan(self.site.models.active("toy"))
        )

    def pem(self, name: str) -> tuple[Path, Path]:
        """(certificate, key) of a client of the broker."""
        if name == CLOUD_USER:
            folder, stem = self.site.folder / "tls" / "clients", CLOUD_USER
        else:
            folder, stem = self.site.folder / "devices" / name, "client"
        return folder / f"{stem}.pem", folder / f"{stem}.key"

    def client(self, name: str, password: str = "") -> mqtt.Client:
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"test-{name}-{time.monotonic_ns()}")
        if self.identity == "password":
            client.tls_set(str(self.ca))
            client.username_pw_set(name, password or self.site.accounts[name])
        else:
            client.tls_set(str(self.ca), *map(str, self.pem(name)))
        return client

    def raw(self, pem: tuple[Path, Path] | None) -> ssl.SSLSocket:
        """A TLS connection to the broker that speaks no MQTT yet; raises what the handshake raises."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if pem is not None:
            context.load_cert_chain(*pem)
        sock = context.wrap_socket(
            socket.create_connection(("localhost", self.port), 5), server_hostname="localhost"
        )
        sock.settimeout(5)
        return sock

    def admitted(self, pem: tuple[Path, Path] | None) -> bool:
        """Whether the broker takes a CONNECT over a connection with this certificate."""
        name = os.urandom(4).hex().encode()
        body = b"\x00\x04MQTT\x04\x02\x00\x1e" + len(name).to_bytes(2, "big") + name
        try:
            with self.raw(pem) as sock:
                sock.sendall(b"\x10" + bytes([len(body)]) + body)
                return sock.recv(4) == b"\x20\x02\x00\x00"
        except OSError:  # in TLS 1.3 a refused certificate shows at the first read
            return False

    def exchange(
        self, user: str, publish: list[tuple[str, bytes]], read: str, seconds: float = 4
    ) -> list[mqtt.MQTTMessage]:
        """What `user` hears under `read` after publishing; whatever the broker does not allow is silently
        dropped.
        """
        heard: list[mqtt.MQTTMessage] = []
        ready = threading.Event()
        client = self.client(user)
        client.on_connect = lambda c, *_: c.subscribe(read, 1)
        client.on_subscribe = lambda *_: ready.set()
        client.on_message = lambda _c, _d, message: heard.append(message)
        client.connect("localhost", self.port)
        client.loop_start()
        assert ready.wait(30)
        for topic, payload in publish:
            client.publish(topic, payload, qos=1)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and len({message.payload for message in heard}) < 2:
            time.sleep(0.05)
        client.disconnect()
        client.loop_stop()
        return heard

    def stop(self) -> None:
        kit.stop_all(self.cloud, self.helper, self.broker)


def pictures_over_tls(place: Place) -> None:
    device = place.device("cam-1")
    parcel = device.picture()
    read = f"{topics.base('cam-1')}/down/{parcel.image.hex()}"
    heard = place.exchange("cam-1", parcel.messages(), read, 20)
    said = list(dict.fromkeys(message.payload for message in heard))  # at least once on the wire
    assert len(said) == 2  # receipt, result
    assert parcel.open(said[1]) == kit.label_of(parcel.pixels)


def another_device_can_neither_publish_nor_listen(place: Place) -> None:
    """cam-2 plays cam-1's genuine messages and listens for the answer: it hears nothing, and the cloud sees
    nothing.
    """
    parcel = place.device("cam-1").picture()
    heard = place.exchange("cam-2", parcel.messages(), f"{topics.base('cam-1')}/down/+", 1.5)
    assert heard == []
    pictures_over_tls(place)  # what came before it, the cloud has seen by now
    assert parcel.image.hex() not in place.cloud.log.read_text()
    everything = place.exchange("cam-2", place.device("cam-2").picture().messages(), "#", 1.5)
    assert all(m.topic.startswith(topics.base("cam-2") + "/") for m in everything)
