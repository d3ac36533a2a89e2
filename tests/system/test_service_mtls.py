"""Every client of the broker by its certificate (mutual TLS on a real Mosquitto, as `blindsight keys init --certificates`
and `blindsight broker config` set it up): who gets in, as whom, and that nobody who does not can do harm.
"""

import os
import queue
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import service_kit as kit
from tls_kit import Place, another_device_can_neither_publish_nor_listen, command, pictures_over_tls

from blindsight.app import certificates
from blindsight.app.broker import mosquitto_conf
from blindsight.app.children import DeviceProcess, Events
from blindsight.app.demo import FIRMWARE, find_micropython
from blindsight.app.site import SiteError
from blindsight.wire import topics


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    here = Place(tmp_path_factory.mktemp("mtls"), "certificate")
    yield here
    here.stop()


def test_what_a_device_may(place: Place) -> None:
    assert "password" not in place.conf.read_text() and not place.site.accounts
    pictures_over_tls(place)
    another_device_can_neither_publish_nor_listen(place)


def test_what_waits_for_a_device_expires(place: Place) -> None:
    """With MQTT 5, receipts and answers carry their end."""
    import paho.mqtt.client as mqtt

    heard: list[mqtt.MQTTMessage] = []
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="five", protocol=mqtt.MQTTv5)
    client.tls_set(str(place.ca), *map(str, place.pem("cam-1")))
    client.on_connect = lambda c, *_: c.subscribe(f"{topics.base('cam-1')}/down/+", 1)
    client.on_message = lambda _c, _d, message: heard.append(message)
    client.connect("localhost", place.port)
    client.loop_start()
    pictures_over_tls(place)
    deadline = time.monotonic() + 10
    while len(heard) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    client.disconnect()
    client.loop_stop()
    assert len(heard) >= 2
    assert all(6 * 86400 < m.properties.MessageExpiryInterval <= 7 * 86400 for m in heard)  # type: ignore[attr-defined]


def test_the_name_is_the_certificates(place: Place) -> None:
    """Whatever user name and client id a device claims: its rights are those of its certificate."""
    heard = []
    client = place.client("cam-2")
    client.username_pw_set("cloud", "x")
    client.on_connect = lambda c, *_: c.subscribe([("bs1/+/+/up/+/+", 1), ("#", 1), ("$SYS/#", 0)])
    client.on_message = lambda _c, _d, message: heard.append(message.topic)
    client.connect("localhost", place.port)
    client.loop_start()
    pictures_over_tls(place)
    for topic in (f"{topics.base('cam-1')}/cmd/reboot", f"{topics.base('cam-1')}/down/{'0' * 32}", "bs1/x"):
        client.publish(topic, b"", qos=1).wait_for_publish(5)
    client.disconnect()
    client.loop_stop()
    assert not [topic for topic in heard if not topic.startswith(topics.base("cam-2") + "/")]


def test_who_does_not_get_in(place: Place, tmp_path: Path) -> None:
    """No certificate, one of another authority, an expired one, the servers' own: none is admitted; a device's is."""
    site = place.site.folder
    stranger = certificates.Clients(tmp_path / "other")
    stranger.create()
    stranger.issue("cam-1", 0, tmp_path, "stranger")
    place.site.clients.issue("cam-1", 0, tmp_path, "expired", days=-1)
    certificates.make(tmp_path / "servers")
    assert place.admitted(place.pem("cam-1"))
    for name, pem in {
        "none": None,
        "another authority's": (tmp_path / "stranger.pem", tmp_path / "stranger.key"),
        "expired": (tmp_path / "expired.pem", tmp_path / "expired.key"),
        "the cloud's for the helper": (site / "tls" / "cloud.pem", site / "tls" / "cloud.key"),
        "the broker's own": (site / "tls" / "broker.pem", site / "tls" / "broker.key"),
    }.items():
        assert not place.admitted(pem), name
    pictures_over_tls(place)


def test_a_device_certificate_opens_no_other_door(place: Place) -> None:
    """The helper takes the cloud's certificate for the link alone: not a device's, not the cloud's for the broker."""
    from blindsight.channel import ChannelError, TlsFiles, tls_connect
    from blindsight.cloud.config import CloudConfig
    from blindsight.service.config import load

    link = load(CloudConfig, place.site.cloud_toml).helper
    assert link.ca is not None
    for name in ("cam-1", "cloud"):
        files = TlsFiles(link.ca, *place.pem(name), "helper.blindsight")
        with pytest.raises(ChannelError):
            tls_connect(0, files, "127.0.0.1", link.port, {"pair": "w9", "models": {}}, 5)


def test_noise_and_floods_crash_nothing(place: Place) -> None:
    """Malformed packets, packets over the limit, and half-open connections, with and without a certificate."""
    whole = place.pem("cam-2")
    connect = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x1e\x00\x03bad"
    topic = f"{topics.base('cam-2')}/up/{'0' * 32}/0".encode()
    publish = struct.pack("!H", len(topic)) + topic + b"\x00\x01"
    size = 200_000 + len(publish)
    varint = bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14])
    for noise in (
        os.urandom(500),
        b"\x10\xff\xff\xff\x7f" + bytes(100),  # a CONNECT of 256 MiB
        connect + b"\x32\xff\xff\xff\xff\xff\xff",  # a length of too many bytes
        connect + b"\x30\x02\x00\x09",  # a topic longer than the packet
        connect + b"\x82\x05\x00\x01\x00\xffa",  # a filter longer than the packet
        connect + b"\xf0\x00" + b"\x36\x00",  # packets that are none
        connect + b"\x32" + varint + publish + bytes(200_000),  # over max_packet_size
    ):
        with place.raw(whole) as sock:
            try:
                sock.sendall(noise)
                while sock.recv(4096):
                    pass
            except OSError:
                pass
    held = [place.raw(whole) for _ in range(30)]  # and say nothing
    pictures_over_tls(place)
    for sock in held:
        sock.close()
    for process in (place.broker, place.cloud, place.helper):
        assert process.process is not None and process.process.poll() is None


def test_the_firmware_shows_its_certificate(place: Place) -> None:
    """The board's own program, in its 128 KiB, from the folder that `keys device` wrote."""
    folder = place.site.folder / "devices" / "cam-1"
    pixels = os.urandom(256)
    (folder / "frames.bin").write_bytes(pixels)
    events: Events = queue.Queue()
    device = DeviceProcess(find_micropython(""), FIRMWARE, folder, events)
    try:
        deadline = time.monotonic() + 60
        while True:
            _, _, event = events.get(timeout=max(0.1, deadline - time.monotonic()))
            assert event["event"] != "exit", event
            if event["event"] == "result":
                break
        assert event["index"] == kit.label_of(pixels)
    finally:
        device.stop()


def test_rotation_and_revocation(place: Place, tmp_path: Path) -> None:
    """A renewed certificate and a next epoch drain their forerunners; retired and revoked ones are shut out, and a
    revoked device's open connection loses its rights.
    """
    site, kept = place.site.folder, {}

    def keep(name: str) -> None:
        kept[name] = (tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
        for source, target in zip(place.pem("cam-2"), kept[name], strict=True):
            target.write_bytes(source.read_bytes())

    keep("first")
    old = place.device("cam-2")
    assert "until" in command("keys", "certificate", "cam-2", "--site", site)
    keep("renewed")
    place.enrol("cam-2")
    keep("next epoch")
    assert all(place.admitted(pem) for pem in kept.values())
    parcel = old.picture()
    heard = place.exchange(
        "cam-2", parcel.messages(), f"{topics.base('cam-2')}/down/{parcel.image.hex()}", 20
    )
    assert len({m.payload for m in heard}) == 2  # the former key still drains
    assert "2 certificates revoked" in command("keys", "retire", "cam-2", "--site", site)
    place.configure()
    place.restart_broker()
    assert [place.admitted(pem) for pem in kept.values()] == [False, False, True]

    heard_by_revoked: list[bytes] = []
    client = place.client("cam-2")
    client.on_connect = lambda c, *_: c.subscribe(f"{topics.base('cam-2')}/down/+", 1)
    client.on_message = lambda _c, _d, message: heard_by_revoked.append(message.payload)
    client.connect("localhost", place.port)
    client.loop_start()
    assert "revoked" in command("keys", "revoke", "cam-2", "--site", site)
    place.configure()
    place.broker.process.send_signal(1)  # type: ignore[union-attr]  # SIGHUP: the access list at once, for open connections too
    time.sleep(1)
    parcel = place.device("cam-2").picture()
    for topic, payload in parcel.messages():
        client.publish(topic, payload, qos=1)
    time.sleep(1)
    client.disconnect()
    client.loop_stop()
    assert not heard_by_revoked and parcel.image.hex() not in place.cloud.log.read_text()
    place.restart_broker()
    assert [place.admitted(pem) for pem in kept.values()] == [False, False, False]
    assert place.admitted(place.pem("cam-1"))
    place.cloud.until("broker-connected", place.cloud.count("broker-disconnected") + 1, 40)
    pictures_over_tls(place)


def test_new_certificates_for_the_servers(place: Place) -> None:
    """Under the same authority: devices need nothing new, the servers take them up as they connect again."""
    before = (place.site.folder / "tls" / "helper.pem").read_bytes()
    assert "new certificates until" in command("keys", "servers", "--site", place.site.folder)
    assert (place.site.folder / "tls" / "helper.pem").read_bytes() != before
    place.restart_broker()
    connected = place.cloud.count("helper-connected")
    place.cloud.ready()
    place.cloud.stop()
    place.cloud.start()
    place.cloud.until("helper-connected", connected + 1)
    place.cloud.ready()
    pictures_over_tls(place)


def test_names_that_no_device_has(place: Place) -> None:
    with pytest.raises(SiteError, match="cloud's account"):
        command("keys", "device", "cloud", "--site", place.site.folder, "--model", "toy")


def test_the_configuration_for_2_1() -> None:
    """Plugins in place of the two file options, and nothing that 2.1 calls deprecated."""
    folder = Path("/etc/bs")
    old = mosquitto_conf(folder, 8883, "certificate", folder / "tls").splitlines()
    new = mosquitto_conf(folder, 8883, "certificate", folder / "tls", "2.1").splitlines()
    assert [line for line in old if line not in new] == ["acl_file /etc/bs/acl.conf"]
    assert [line for line in new if line not in old] == [
        "global_plugin /usr/lib/mosquitto_acl_file.so",
        "plugin_opt_acl_file /etc/bs/acl.conf",
    ]
    with_passwords = mosquitto_conf(folder, 8883, "password", folder / "tls", "2.1")
    assert "plugin_opt_password_file /etc/bs/passwords" in with_passwords
    assert "\npassword_file" not in with_passwords and "per_listener_settings" not in with_passwords
