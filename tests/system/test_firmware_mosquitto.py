"""The real firmware and Debian's Mosquitto: plain, TLS (right authority, wrong one, wrong name), passwords, restarts."""

import datetime
import ipaddress
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

sys.path.insert(0, str(Path(__file__).parent))
import firmware_lab as lab
from leash import leashed

from blindsight.app.children import free_port

MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, signer: ec.EllipticCurvePrivateKey, ca: bool
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if not ca:
        names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())


class Mosquitto:
    """One broker process on a port of 127.0.0.1, plain and TLS, restarted at will."""

    def __init__(self, path: Path, extra: str = "", tls: str = "") -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.port, self.tls_port = free_port(), free_port()
        self.ca_key = ca_key = ec.generate_private_key(ec.SECP256R1())
        key = ec.generate_private_key(ec.SECP256R1())
        ca = _certificate("Test CA", ca_key, "Test CA", ca_key, True)
        cert = _certificate("localhost", key, "Test CA", ca_key, False)
        other_key = ec.generate_private_key(ec.SECP256R1())
        other = _certificate("Test CA", other_key, "Test CA", other_key, True)
        pem = serialization.Encoding.PEM
        (path / "ca.pem").write_bytes(ca.public_bytes(pem))
        (path / "ca.der").write_bytes(ca.public_bytes(serialization.Encoding.DER))
        (path / "wrong.pem").write_bytes(other.public_bytes(pem))
        (path / "both.pem").write_bytes(other.public_bytes(pem) + ca.public_bytes(pem))
        (path / "cert.pem").write_bytes(cert.public_bytes(pem))
        (path / "key.pem").write_bytes(_key_pem(key))
        (path / "mosquitto.conf").write_text(
            f"per_listener_settings false\nuser root\npersistence true\npersistence_location {path}/\n"
            f"allow_anonymous {'false' if 'password_file' in extra else 'true'}\n{extra}\n"
            f"listener {self.port} 127.0.0.1\nlistener {self.tls_port} 127.0.0.1\n"
            f"cafile {path}/ca.pem\ncertfile {path}/cert.pem\nkeyfile {path}/key.pem\n{tls}\n"
        )
        self.start()

    def start(self) -> None:
        assert MOSQUITTO, "install mosquitto (apt-get install mosquitto)"
        with (self.path / "log").open("ab") as log:
            command = leashed([MOSQUITTO, "-v", "-c", str(self.path / "mosquitto.conf")])
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError((self.path / "log").read_text())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Cloud:
    """lab.Servers behind a paho client with a persistent session."""

    def __init__(self, port: int, servers: lab.Servers, user: str = "", password: str = "") -> None:
        self.servers = servers
        self.errors: list[BaseException] = []
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="cloud", clean_session=False)
        if user:
            self.client.username_pw_set(user, password)
        self.client.reconnect_delay_set(0.05, 0.2)  # type: ignore[arg-type]
        self.client.on_connect = lambda c, *_: c.subscribe([("bs1/+/+/up/#", 1), ("bs1/+/+/status", 1)])
        self.client.on_message = self._message
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _message(self, client: mqtt.Client, _: Any, message: mqtt.MQTTMessage) -> None:
        try:
            for topic, payload in self.servers.receive(message.topic, message.payload):
                client.publish(topic, payload, qos=1)
        except BaseException as e:
            self.errors.append(e)

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        assert self.errors == []


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    b = Mosquitto(tmp_path / "broker")
    yield b
    b.kill()


def _device(tmp_path: Path, port: int, frames: int = 2, **broker: Any) -> tuple[lab.Provision, lab.Servers]:
    provision = lab.Provision(tmp_path / "device", count=frames)
    provision.set_frames(frames)
    provision.config["broker"] = {"host": "127.0.0.1", "port": port, **broker}
    provision.write()
    return provision, lab.Servers(provision)


def _answered(provision: lab.Provision, servers: lab.Servers, device: lab.Device) -> None:
    assert {e["frame"] for e in device.of("result")} == set(range(len(provision.frames)))
    for e in device.of("result"):
        pixels = provision.frames[e["frame"]]
        assert servers.pixels[e["image"]] == pixels and e["index"] == lab.label_of(pixels)


def test_plain(tmp_path: Path, broker: Mosquitto) -> None:
    provision, servers = _device(tmp_path, broker.port)
    cloud = Cloud(broker.port, servers)
    device = lab.Device(provision.path)
    assert device.wait() == 0, device.stderr
    deadline = time.monotonic() + 10  # the device's farewell may still be on its way
    while servers.status.get("cam-1", {}).get("state") != "offline" and time.monotonic() < deadline:
        time.sleep(0.05)
    cloud.stop()
    _answered(provision, servers, device)
    assert servers.status["cam-1"]["state"] == "offline"


@pytest.mark.parametrize(
    "name,host", [("ca.pem", "127.0.0.1"), ("ca.der", "localhost"), ("both.pem", "localhost")]
)
def test_tls_with_the_right_authority(tmp_path: Path, broker: Mosquitto, name: str, host: str) -> None:
    """PEM or DER, by address or name, within the same 128 KiB of heap."""
    provision, servers = _device(tmp_path, broker.tls_port, tls=True, ca="ca")
    shutil.copy(broker.path / name, provision.path / "ca")
    provision.config["broker"]["host"] = host
    provision.write()
    cloud = Cloud(broker.port, servers)
    device = lab.Device(provision.path)
    assert device.wait() == 0, device.stderr
    cloud.stop()
    _answered(provision, servers, device)
    assert device.of("clock")[0]["source"] == "system"


@pytest.mark.parametrize("name,server", [("wrong.pem", "localhost"), ("ca.pem", "elsewhere.example")])
def test_tls_with_a_wrong_authority_or_name(
    tmp_path: Path, broker: Mosquitto, name: str, server: str
) -> None:
    """Nothing is published to a broker that cannot prove itself."""
    provision, servers = _device(tmp_path, broker.tls_port, tls=True, ca="ca", server_name=server)
    shutil.copy(broker.path / name, provision.path / "ca")
    cloud = Cloud(broker.port, servers)
    device = lab.Device(provision.path)
    device.wait_for("offline", 3)
    device.kill()
    cloud.stop()
    assert not device.of("connected") and not servers.blocks
    assert any("cert" in e["reason"].lower() for e in device.of("offline")), device.of("offline")
    assert "New client connected from 127.0.0.1" not in "".join(
        line for line in (broker.path / "log").read_text().splitlines() if "cam-1" in line
    )


def _sec1(key: Any) -> bytes:
    """As `openssl ecparam -genkey` writes it: the curve in a block of its own, then the key."""
    curve = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    return curve + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize("form", [_key_pem, _sec1], ids=["pkcs8", "sec1 after its curve"])
@pytest.mark.parametrize("chain", [True, False], ids=["chain", "leaf"])
def test_a_certificate_of_an_intermediate_authority(tmp_path: Path, form: Any, chain: bool) -> None:
    """The broker knows the root alone: the device is let in when its file has the intermediate's certificate too."""
    broker = Mosquitto(tmp_path / "broker", tls="require_certificate true")
    try:
        provision, servers = _device(
            tmp_path, broker.tls_port, 1, tls=True, ca="ca", certificate="own.pem", key="own.key"
        )
        shutil.copy(broker.path / "ca.pem", provision.path / "ca")
        between, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        found = [_certificate("cam-1", key, "Between", between, False)]
        if chain:
            found.append(_certificate("Between", between, "Test CA", broker.ca_key, True))
        pem = b"".join(c.public_bytes(serialization.Encoding.PEM) for c in found)
        (provision.path / "own.pem").write_bytes(pem)
        (provision.path / "own.key").write_bytes(form(key))
        cloud = Cloud(broker.port, servers)
        device = lab.Device(provision.path)
        if chain:
            assert device.wait() == 0, device.stderr
            _answered(provision, servers, device)
        else:
            device.wait_for("offline", 2)
            device.kill()
            assert not device.of("connected")
        cloud.stop()
    finally:
        broker.kill()


def test_files_that_hold_the_wrong_thing_are_named(tmp_path: Path, broker: Mosquitto) -> None:
    provision, _ = _device(tmp_path, broker.tls_port, tls=True, ca="ca", certificate="own.pem", key="own.key")
    shutil.copy(broker.path / "ca.pem", provision.path / "ca")
    key = ec.generate_private_key(ec.SECP256R1())
    pem, secret = serialization.Encoding.PEM, serialization.BestAvailableEncryption(b"password")
    forms = serialization.PrivateFormat
    for name, data, message in (
        ("own.key", _sec1(key).split(b"-----BEGIN EC PRIVATE")[0], "holds no PRIVATE KEY"),
        ("own.key", key.private_bytes(pem, forms.PKCS8, secret), "wants a password"),
        ("own.key", key.private_bytes(pem, forms.TraditionalOpenSSL, secret), "wants a password"),
        ("own.key", _key_pem(key).replace(b"-----END", b"A\n-----END"), "is damaged"),
        ("own.pem", _key_pem(key), "holds no CERTIFICATE"),
        ("ca", _key_pem(key), "holds no CERTIFICATE"),
    ):
        shutil.copy(broker.path / "cert.pem", provision.path / "own.pem")
        shutil.copy(broker.path / "key.pem", provision.path / "own.key")
        before = (provision.path / name).read_bytes()
        (provision.path / name).write_bytes(data)
        device = lab.Device(provision.path)
        assert device.wait() == 2
        line = f"blindsight: {provision.path / name} {message}"
        assert device.stderr.startswith(line) and device.stderr.count("\n") == 1, device.stderr
        (provision.path / name).write_bytes(before)


def test_missing_authority_file_is_named(tmp_path: Path, broker: Mosquitto) -> None:
    provision, _ = _device(tmp_path, broker.tls_port, tls=True, ca="nowhere.pem")
    device = lab.Device(provision.path)
    assert device.wait() == 2
    assert device.stderr.startswith("blindsight: ") and "nowhere.pem is missing" in device.stderr


def test_password(tmp_path: Path) -> None:
    """The right user and password are taken; wrong ones are refused and named."""
    path = tmp_path / "broker"
    path.mkdir()
    for user in ("cam-1", "cloud"):
        subprocess.run(
            ["mosquitto_passwd", "-b", *([] if user == "cloud" else ["-c"]), str(path / "pw"), user, f"{user}-pw"],
            check=True, capture_output=True,
        )  # fmt: skip
    broker = Mosquitto(path, f"password_file {path}/pw")
    try:
        provision, servers = _device(tmp_path, broker.port, 1, user="cam-1", password="no")
        wrong = lab.Device(provision.path)
        wrong.wait_for("offline")
        wrong.kill()
        assert "user name or password" in wrong.of("offline")[0]["reason"] or "not authorised" in str(
            wrong.events
        )
        provision.config["broker"]["password"] = "cam-1-pw"
        provision.write()
        cloud = Cloud(broker.port, servers, "cloud", "cloud-pw")
        right = lab.Device(provision.path)
        assert right.wait() == 0, right.stderr
        cloud.stop()
        _answered(provision, servers, right)
    finally:
        broker.kill()


def test_broker_killed_between_pictures(tmp_path: Path, broker: Mosquitto) -> None:
    """kill -9 of Mosquitto, which loses what it acknowledged since its last autosave: receipts and resends cover it."""
    provision, servers = _device(tmp_path, broker.port, 4)
    cloud = Cloud(broker.port, servers)
    device = lab.Device(provision.path)
    for count in (1, 2, 3):
        device.wait_for("published", count)
        broker.kill()
        broker.start()
    assert device.wait(60) == 0, device.stderr
    cloud.stop()
    _answered(provision, servers, device)


def test_last_will(tmp_path: Path, broker: Mosquitto) -> None:
    provision, servers = _device(tmp_path, broker.port, 1)
    servers.reply = lambda image, kind: False
    cloud = Cloud(broker.port, servers)
    device = lab.Device(provision.path)
    device.wait_for("published")
    assert servers.status["cam-1"]["state"] == "online"
    device.kill()
    for _ in range(200):
        if servers.status["cam-1"]["state"] == "offline":
            break
        time.sleep(0.02)
    cloud.stop()
    assert servers.status["cam-1"] == {"state": "offline"}
