"""The Raspberry Pi client, built as a wheel and run against the firmware lab's servers and breaking broker."""

import datetime
import ipaddress
import pathlib
import socket
import ssl
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import firmware_lab as lab

PI = lab.ROOT / "device_fw" / "pi"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A stand-in for the `micropython` command of the lab that runs the installed client on the same directory."""
    work = tmp_path_factory.mktemp("pi")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-build-isolation",
        "--no-deps",
        "-w",
        str(work),
        str(PI),
    ]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = work.glob("blindsight_pi-*-abi3-*.whl")
    zipfile.ZipFile(wheel).extractall(work / "site")
    command = work / "run"
    command.write_text(
        f'#!/bin/sh\nPYTHONPATH="{work / "site"}" exec "{sys.executable}" -m blindsight_pi "$4"\n'
    )
    command.chmod(0o755)
    return command


@pytest.fixture
def bench(client: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Bench"]:
    monkeypatch.setattr(lab, "MICROPYTHON", str(client))
    b = Bench(tmp_path)
    yield b
    lab.Device.reap()
    b.broker.close()


class Bench:
    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def build(self, frames: int, **settings: Any) -> None:
        self.provision = lab.Provision(self.path / "device", count=frames, **settings)
        self.frames = self.provision.set_frames(frames)
        self.servers = lab.Servers(self.provision)
        self.broker = lab.Broker(self.servers.receive)
        self.provision.config["broker"]["port"] = self.broker.port
        self.provision.write()

    def start(self) -> lab.Device:
        return lab.Device(self.provision.path)

    def check(self, device: lab.Device) -> None:
        answers = device.of("result")
        assert sorted(e["frame"] for e in answers) == list(range(len(self.frames)))
        for e in answers:
            assert self.servers.pixels[e["image"]] == self.frames[e["frame"]]
            assert (
                e["index"] == lab.label_of(self.frames[e["frame"]]) and e["label"] == lab.LABELS[e["index"]]
            )


@pytest.mark.parametrize("mode", ["rlwe", "rlwe-sk", "aes"])
def test_pictures_are_answered(bench: Bench, mode: str) -> None:
    bench.build(3, mode=mode)
    device = bench.start()
    assert device.wait() == 0, device.stderr
    bench.check(device)
    assert device.stderr == ""
    assert device.of("boot")[0]["core"] == ("cryptolib" if mode == "aes" else "native")
    assert bench.broker.wills == []


def test_a_broken_link_resends_the_same_bytes(bench: Bench) -> None:
    """The lab asserts that a block or manifest that comes twice is the same bytes."""
    bench.build(2)
    seen = 0

    def fault(what: str) -> str | None:
        nonlocal seen
        seen += what.startswith("bs1")
        return ("before", "after")[seen % 2] if seen in (2, 4, 7) and what.startswith("bs1") else None

    bench.broker.fault = fault
    device = bench.start()
    assert device.wait(60) == 0, device.stderr
    bench.check(device)
    assert seen > 7 and bench.broker.connections >= 3


def test_a_restart_keeps_seed_and_counts_boots(bench: Bench) -> None:
    bench.build(1)
    bench.servers.reply = lambda image, kind: False
    first = bench.start()
    first.wait_for("published")
    first.kill()
    held = {k: dict(v) for k, v in bench.servers.blocks.items()}
    bench.servers.reply = lambda image, kind: True
    second = bench.start()
    assert second.wait() == 0, second.stderr
    bench.check(second)
    assert bench.servers.blocks == held
    assert second.of("boot")[0]["boot"] == first.of("boot")[0]["boot"] + 1


def test_a_folder_of_pictures(bench: Bench) -> None:
    bench.build(2, camera={"kind": "folder", "path": "shots"}, height=24, width=20, channels=3)
    folder = bench.provision.path / "shots"
    folder.mkdir()
    rng = np.random.default_rng(5)
    exact = rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)
    Image.fromarray(exact).save(folder / "a.png")
    Image.fromarray(np.full((48, 80), 77, np.uint8)).save(folder / "b.png")
    bench.frames = [exact.tobytes(), bytes([77]) * (24 * 20 * 3)]
    device = bench.start()
    assert device.wait() == 0, device.stderr
    bench.check(device)


PICAMERA2 = """
class Picamera2:
    def create_still_configuration(self, main):
        assert main == {"size": (40, 30), "format": "BGR888"}
        return main
    def configure(self, configuration):
        self.size = configuration["size"]
    def start(self):
        self.shots = 0
    def capture_array(self, name):
        assert name == "main"
        self.shots += 1
        return memoryview(bytes(range(1, 4)) * (self.size[0] * self.size[1]))
"""


def test_the_pi_camera_by_a_stand_in(
    bench: Bench, client: pathlib.Path, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """libcamera is not here: a module of its name checks the calls and gives one colour."""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "picamera2.py").write_text(PICAMERA2)
    wrapper = tmp_path / "run"
    wrapper.write_text(client.read_text().replace('PYTHONPATH="', f'PYTHONPATH="{tmp_path / "fake"}:'))
    wrapper.chmod(0o755)
    monkeypatch.setattr(lab, "MICROPYTHON", str(wrapper))
    bench.build(2, camera={"kind": "picamera2", "width": 40, "height": 30})
    bench.frames = [bytes(range(1, 4)) * (32 * 32)] * 2
    device = bench.start()
    assert device.wait() == 0, device.stderr
    bench.check(device)


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        ({"kind": "folder", "path": "none"}, "no pictures there"),
        ({"kind": "picamera2"}, "apt install python3-picamera2"),
        ({"kind": "telescope"}, "camera.kind telescope"),
    ],
)
def test_a_camera_that_is_not_there(bench: Bench, camera: dict[str, Any], message: str) -> None:
    bench.build(1, camera=camera)
    device = bench.start()
    assert device.wait() == 2
    assert message in device.stderr and len(device.stderr.splitlines()) == 1


def certificate(folder: pathlib.Path) -> None:
    """A self-signed certificate of 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lab")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "key.pem").write_bytes(pem)


def tls_front(folder: pathlib.Path, port: int) -> socket.socket:
    """A listener that takes TLS off and passes the bytes on to the broker."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    server = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(16384):
                sink.sendall(data)
        except OSError:
            pass
        sink.close()

    def accept() -> None:
        while True:
            try:
                raw, _ = server.accept()
                outer = context.wrap_socket(raw, server_side=True)
            except ssl.SSLError:
                continue
            except OSError:
                return
            inner = socket.create_connection(("127.0.0.1", port))
            for ends in ((outer, inner), (inner, outer)):
                threading.Thread(target=pump, args=ends, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return server


def test_tls_with_the_right_authority_only(bench: Bench) -> None:
    bench.build(2)
    good, bad = bench.path / "good", bench.path / "bad"
    for folder in (good, bad):
        folder.mkdir()
        certificate(folder)
    front = tls_front(good, bench.broker.port)
    broker = bench.provision.config["broker"]
    broker.update({"tls": True, "ca": "ca.pem", "port": front.getsockname()[1]})
    bench.provision.write()
    (bench.provision.path / "ca.pem").write_bytes((bad / "cert.pem").read_bytes())
    refused = bench.start()
    refused.wait_for("offline", 2)
    refused.kill()
    assert "certificate verify failed" in refused.of("offline")[0]["reason"]
    assert bench.broker.connections == 0
    (bench.provision.path / "ca.pem").write_bytes((good / "cert.pem").read_bytes())
    device = bench.start()
    assert device.wait() == 0, device.stderr
    bench.check(device)
    front.close()
