"""Channels: exact frames, one clear error for every way a peer can misbehave, no hang."""

import datetime
import json
import socket
import struct
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from blindsight.channel import (
    ChannelError,
    Link,
    PeerClosed,
    PeerTimeout,
    ProtocolError,
    Recorder,
    TlsFiles,
    VersionError,
    connect_socket,
    memory_pair,
    shaped,
    tcp_connect,
    tcp_listen,
    tls_connect,
    tls_listen,
)


def both(f, g):
    """Run two ends at once; returns what each returned or raised."""
    out = [None, None]

    def run(i, h):
        try:
            out[i] = h()
        except Exception as error:
            out[i] = error

    other = threading.Thread(target=run, args=(1, g))
    other.start()
    run(0, f)
    other.join(30)
    assert not other.is_alive(), "an end hangs"
    return out


def tcp_pair(timeout=5.0):
    listener = tcp_listen(1, timeout=timeout)
    ends = both(lambda: tcp_connect(0, *listener.address, timeout=timeout), listener.accept)
    listener.close()
    return ends


def make_ca(folder: Path, name: str):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)

    def certificate(cn, public, issuer, ca):
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)]))
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca, None), True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(cn)]), False)
            .sign(key, hashes.SHA256())
        )

    (folder / "ca.pem").write_bytes(
        certificate(name, key.public_key(), subject, True).public_bytes(serialization.Encoding.PEM)
    )

    def issue(cn: str, peer: str) -> TlsFiles:
        own = ec.generate_private_key(ec.SECP256R1())
        (folder / f"{cn}.pem").write_bytes(
            certificate(cn, own.public_key(), subject, False).public_bytes(serialization.Encoding.PEM)
        )
        (folder / f"{cn}.key").write_bytes(
            own.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return TlsFiles(folder / "ca.pem", folder / f"{cn}.pem", folder / f"{cn}.key", peer)

    return issue


@pytest.fixture
def tls_pair(tmp_path):
    issue = make_ca(tmp_path, "test-ca")
    cloud, helper = issue("cloud", "helper"), issue("helper", "cloud")
    listener = tls_listen(1, helper, "127.0.0.1", 0, timeout=5)
    ends = both(lambda: tls_connect(0, cloud, *listener.address, timeout=5), listener.accept)
    listener.close()
    return ends


@pytest.fixture(params=["memory", "tcp", "tls"])
def pair(request):
    if request.param == "memory":
        ends = memory_pair(timeout=5)
    elif request.param == "tcp":
        ends = tcp_pair()
    else:
        ends = request.getfixturevalue("tls_pair")
    yield ends
    for end in ends:
        end.close()


def test_big_simultaneous_exchange(pair):
    a, b = pair
    x = np.arange(9_000_000, dtype=np.uint32)
    y = x * np.uint32(3)
    got = both(lambda: a.exchange(x, y.nbytes), lambda: b.exchange(y, x.nbytes))
    assert np.array_equal(got[0].view(np.uint32), y) and np.array_equal(got[1].view(np.uint32), x)
    assert a.session == b.session and len(a.session) == 16
    assert got[0].ctypes.data % 64 == 0 and got[0].flags.writeable


def test_counts_and_sections(pair):
    a, b = pair
    ra = Recorder(a, transcript=True)
    with ra.section("ping"):
        both(lambda: ra.exchange(b"12345", 3), lambda: (b.recv(5), b.send(b"ab", b"c")))
    counts = ra.sections["ping"]
    assert (counts.sent, counts.received, counts.messages, counts.rounds) == (10, 8, 1, 1)
    assert ra.sent == [b"12345"] and ra.received == [b"abc"]


def test_control_and_orderly_end(pair):
    a, b = pair
    a.send_control({"op": "x", "n": [1, 2]})
    assert b.recv_control() == {"op": "x", "n": [1, 2]}
    a.close()
    with pytest.raises(PeerClosed):
        b.recv(1)
    with pytest.raises(PeerClosed):
        b.send(b"x")


@pytest.mark.parametrize("length", [0, 1, 9, 11])
def test_wrong_length_is_told_to_both(pair, length):
    a, b = pair
    a.send(b"x" * length)
    with pytest.raises(ProtocolError, match=f"{length} bytes where 10"):
        b.recv(10)
    with pytest.raises(ProtocolError, match="the peer reports"):
        a.recv(1)


def test_wrong_type(pair):
    a, b = pair
    a.send_control({})
    with pytest.raises(ProtocolError, match="CONTROL frame where DATA"):
        b.recv(2)


def test_silence_times_out():
    a, _b = memory_pair(timeout=0.05)
    with pytest.raises(PeerTimeout):
        a.recv(1)
    a, b = tcp_pair(timeout=0.1)
    with pytest.raises(PeerTimeout):
        a.recv(1)
    b.close()


def raw_peer(send: bytes):
    """A TCP end that swallows the HELLO, sends `send` and closes: returns the error its peer got."""
    listener = tcp_listen(1, timeout=5)

    def talk():
        with socket.create_connection(listener.address) as sock:
            sock.sendall(send)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass

    error = both(lambda: listener.accept().recv(100), talk)[0]
    listener.close()
    return error


def hello(**fields) -> bytes:
    body = json.dumps({"versions": [1], "party": 0, "session": "ab" * 16} | fields).encode()
    return struct.pack("<IB", len(body), 1) + body


@pytest.mark.parametrize(
    ("data", "kind", "text"),
    [
        (b"", PeerClosed, "closed"),
        (b"\x01", PeerClosed, "closed"),
        (struct.pack("<IB", 0xFFFFFFFF, 1), ProtocolError, "at most 65536"),
        (struct.pack("<IB", 5, 77), ProtocolError, "unknown type 77"),
        (struct.pack("<IB", 2, 1) + b"[]", ProtocolError, "not a JSON object"),
        (struct.pack("<IB", 60000, 1) + b"[" * 60000, ProtocolError, "not JSON"),
        (hello(versions=[7, 8]), VersionError, r"speaks \[1\], the peer \[7, 8\]"),
        (hello(versions="x"), ProtocolError, "no protocol versions"),
        (hello(party=1), ProtocolError, "must be party 0"),
        (hello(session="zz"), ProtocolError, "session"),
        (hello() + struct.pack("<IB", 100, 3) + b"short", PeerClosed, "closed"),
        (hello() + struct.pack("<IB", 1 << 31, 3), ProtocolError, "at most"),
        (hello() + struct.pack("<IB", 4, 2) + b"oops", ProtocolError, "the peer reports: oops"),
    ],
)
def test_hostile_bytes(data, kind, text):
    error = raw_peer(data)
    assert type(error) is kind
    with pytest.raises(kind, match=text):
        raise error


def test_tls_refuses_other_authorities_and_names(tmp_path):
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").mkdir()
    issue = make_ca(tmp_path / "good", "test-ca")
    stranger = make_ca(tmp_path / "bad", "test-ca")("cloud", "helper")
    helper, device = issue("helper", "cloud"), issue("device-7", "helper")
    for files in (stranger, device):
        listener = tls_listen(1, helper, "127.0.0.1", 0, timeout=5)
        got = both(lambda f=files, at=listener.address: tls_connect(0, f, *at, timeout=5), listener.accept)
        listener.close()
        assert isinstance(got[1], ProtocolError) and isinstance(got[0], ChannelError)


def test_tls_needs_its_files(tmp_path):
    files = TlsFiles(tmp_path / "ca.pem", tmp_path / "c.pem", tmp_path / "c.key", "helper")
    with pytest.raises(ChannelError, match="blindsight keys init"):
        tls_listen(1, files, "127.0.0.1", 0)


def test_nobody_listens():
    with pytest.raises(PeerClosed, match="is the other server up"):
        tcp_connect(0, "127.0.0.1", 1)


def test_a_shaped_line_is_never_faster_than_its_profile():
    line = Link(bits_per_s=80e6, rtt_s=0.1)
    listener = tcp_listen(1, timeout=5)
    a, b = both(
        lambda: shaped(connect_socket(*listener.address, 5, 0), 0, line, {}),
        lambda: shaped(listener.accept_socket(), 1, line, {}),
    )
    listener.close()
    start = time.monotonic()
    big = bytes(range(256)) * 4000
    got = both(lambda: a.exchange(big, 3), lambda: (b.recv(len(big)).tobytes() == big, b.send(b"end"))[0])
    assert bytes(got[0]) == b"end" and got[1] is True
    assert time.monotonic() - start >= 0.1 + 8 * len(big) / 80e6
    b.close()
    with pytest.raises(PeerClosed):
        a.recv(1)
