"""Mosquitto as `blindsight broker config` sets it up, TLS on: the right authority is accepted, the wrong one
refused, and a device can do no more than its own. The server link is mutual TLS in all of it.
"""

import contextlib
import os
import shutil
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import service_kit as kit
from tls_kit import Place, another_device_can_neither_publish_nor_listen, pictures_over_tls

from blindsight.app import certificates


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    here = Place(tmp_path_factory.mktemp("tls"), "password")
    yield here
    here.stop()


def test_what_a_device_may(place: Place) -> None:
    written = (place.conf.parent / "passwords").read_text()
    assert all(p not in written for p in place.site.accounts.values())
    pictures_over_tls(place)
    another_device_can_neither_publish_nor_listen(place)


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
    pictures_over_tls(place)


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
        pictures_over_tls(place)


def test_the_cloud_refuses_a_broker_of_another_authority(place: Place, tmp_path: Path) -> None:
    certificates.make(tmp_path / "other")
    folder = tmp_path / "cloud"
    shutil.copytree(place.folder / "site", folder, ignore=shutil.ignore_patterns("material", "*.db*"))
    text = (folder / "cloud.toml").read_text()
    (folder / "cloud.toml").write_text(
        text.replace(
            'ca = "tls/ca.pem"', f'ca = "{tmp_path / "other" / "ca.pem"}"', 1
        )  # [broker] comes first
    )
    script = [sys.executable, str(kit.HERE / "fake_service.py"), "cloud", str(folder / "cloud.toml")]
    process = kit.Process(script, tmp_path / "cloud.log").start()
    try:
        process.until("broker-unreachable")
        assert process.count("broker-connected") == 0
        assert "certificate verify failed" in (tmp_path / "cloud.log").read_text()
    finally:
        process.stop()
