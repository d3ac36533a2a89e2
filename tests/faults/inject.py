"""The faults of the suite, each a function that injects it into a `Place` and returns how to see whether it hit anything."""

from __future__ import annotations

import contextlib
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

sys.path.insert(0, str(Path(__file__).parents[1] / "system"))
sys.path.insert(0, str(Path(__file__).parent))
import service_kit as kit
from place import Place

from blindsight.app import certificates
from blindsight.wire import topics

Seen = Callable[[], bool]  # asked when the run's pictures are answered: whether the fault hit anything
Fault = Callable[[Place, random.Random], Seen]


def _always() -> bool:
    """Of faults that cannot miss, or whose effect cannot be seen from here."""
    return True


def _kill(name: str) -> Fault:
    """SIGKILL, as a power cut would, and a start."""

    def fault(place: Place, rng: random.Random) -> Seen:
        killed = _killed(getattr(place, name))
        time.sleep(rng.uniform(0, 0.5))
        getattr(place, name).start()
        return lambda: killed

    return fault


def _killed(service: kit.Process) -> bool:
    service.kill()
    assert service.process
    return service.process.returncode == -signal.SIGKILL


def _session_lost(place: Place, rng: random.Random) -> Seen:
    """The broker comes back without what it had stored: sessions, subscriptions, queued and retained messages."""
    killed = _killed(place.broker)
    for file in (place.folder / "broker" / "data").iterdir():
        file.unlink()
    place.broker.start()
    return lambda: killed


def _restarted(place: Place, rng: random.Random) -> Seen:
    code = place.broker.stop()
    place.broker.start()
    return lambda: code == 0


def _frozen(name: str) -> Fault:
    def fault(place: Place, rng: random.Random) -> Seen:
        process = getattr(place, name).process
        process.send_signal(signal.SIGSTOP)
        time.sleep(rng.choice([0.5, 2, 7]))  # 7 s: longer than the link's patience
        state = Path(f"/proc/{process.pid}/stat").read_text().rsplit(") ", 1)[1][0]
        process.send_signal(signal.SIGCONT)
        return lambda: state == "T"

    return fault


def _network(net: str, what: str) -> Fault:
    def fault(place: Place, rng: random.Random) -> Seen:
        proxy = place.nets[net]
        if what == "cut":
            before = proxy.broken
            proxy.cut(rng.uniform(0, 1))
            return lambda: proxy.broken > before
        if what == "cut at a message of":
            proxy.count(1 + int(2 ** rng.uniform(0, 8 if net == "cloud-helper" else 6)))
            return lambda: not proxy.armed
        if what == "stall":
            before = proxy.stalled
            proxy.stall(rng.choice([0.5, 2, 7]))
            return lambda: proxy.stalled > before
        before = proxy.corrupted
        proxy.corrupt(rng.randint(1, 3))
        return lambda: proxy.corrupted > before

    return fault


def _disk_full(name: str) -> Fault:
    """No file of the process may grow for a while, as on a full disk."""

    def fault(place: Place, rng: random.Random) -> Seen:
        service = getattr(place, name)
        pid = service.process.pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        time.sleep(rng.uniform(0.5, 2))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        with contextlib.suppress(subprocess.TimeoutExpired):
            service.process.wait(1)
            service.start()  # one that was being started when the disk was full has ended: systemd starts it again
        return _always

    return fault


def _clock(place: Place, rng: random.Random) -> Seen:
    """Both services' clock jumps, by minutes or days, and comes back."""
    place.clock.write_text(str(rng.choice([-86400, -1800, -60, 60, 7200, 2 * 86400])))
    time.sleep(rng.uniform(0.5, 3))
    place.clock.write_text("0")
    return _always


def _expired(who: str) -> Fault:
    """A certificate runs out, connections are made anew, and somebody puts a good one in its place."""

    def fault(place: Place, rng: random.Random) -> Seen:
        folder = place.folder / "site" / "tls"
        good = {f: f.read_bytes() for f in (folder / f"{who}.pem", folder / f"{who}.key")}
        authority = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
        ca = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        key, host = ec.generate_private_key(ec.SECP256R1()), certificates.SERVERS[who]
        expired = certificates._sign(host, key, host, authority, ca, -1, certificates.BOTH)  # type: ignore[arg-type]
        certificates._write(folder, who, expired, key)
        nets = ["cloud-helper"] if who == "cloud" else ["device-broker", "cloud-broker"]
        before = [place.nets[net].broken for net in nets]
        for content in (None, good):
            for file, data in (content or {}).items():
                file.write_bytes(data)
            if who == "broker":
                with contextlib.suppress(ProcessLookupError):
                    place.broker.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
            for net in nets:
                place.nets[net].cut()
            time.sleep(rng.uniform(1, 2))
        return lambda: before != [place.nets[net].broken for net in nets]

    return fault


def _flood(place: Place, rng: random.Random) -> Seen:
    """A device fills its quota with blocks of pictures that never become whole, and sends nonsense."""
    for _ in range(150):
        image = rng.randbytes(16)
        topic, size = topics.block("cam-flood", image, rng.randrange(40)), rng.choice([1, 3000, 60000])
        place.flood.client.publish(topic, rng.randbytes(size), qos=1)
        place.flood.client.publish(topics.manifest("cam-flood", image), rng.randbytes(300), qos=1)
    connected = place.flood.client.is_connected()
    return lambda: connected


def _slow(place: Place, rng: random.Random) -> Seen:
    """Strangers connect to broker and helper and give a byte now and then, or nothing."""
    with contextlib.ExitStack() as stack:
        strangers = []
        for net in ("device-broker", "cloud-helper"):
            for _ in range(20):
                with contextlib.suppress(OSError):
                    address = ("127.0.0.1", place.nets[net]._target)
                    strangers.append(stack.enter_context(socket.create_connection(address, 5)))
        for _ in range(4):
            for sock in strangers:
                with contextlib.suppress(OSError):
                    sock.send(rng.randbytes(1))
            time.sleep(0.5)
    return lambda: bool(strangers)


def _untidy(place: Place, rng: random.Random) -> Seen:
    """Every message of new pictures comes several times, in any order, with others of earlier pictures between."""
    for device, client in zip(place.devices, place.clients, strict=True):
        parcels = [device.picture(place.x[rng.randrange(len(place.x))].tobytes()) for _ in range(2)]
        messages = [m for p in parcels for m in p.messages() for _ in range(rng.randint(1, 3))]
        messages += place.earlier[device.name]
        rng.shuffle(messages)
        for topic, payload in messages:
            client.client.publish(topic, payload, qos=1)
        place.earlier[device.name] = parcels[0].messages()
        place.extra += [(client, parcel) for parcel in parcels]
    return _always


FAULTS: dict[str, Fault] = {
    "session lost": _session_lost,
    "restart broker": _restarted,
    **{f"freeze {n}": _frozen(n) for n in ("cloud", "helper")},
    **{
        f"{w} {n}": _network(n, w)
        for n in ("device-broker", "cloud-broker", "cloud-helper")
        for w in ("cut", "cut at a message of", "stall", "corrupt")
    },
    **{f"disk full {n}": _disk_full(n) for n in ("cloud", "helper")},
    **{f"expired certificate {n}": _expired(n) for n in ("cloud", "broker")},
    "clock jumps": _clock,
    "flooding device": _flood,
    "slow strangers": _slow,
    "repeated and shuffled messages": _untidy,
}
KILLS: dict[str, Fault] = {f"kill {n}": _kill(n) for n in ("cloud", "helper", "broker")}
