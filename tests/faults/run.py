"""The fault suite: real services, TLS, Mosquitto; every run a fault at a random moment, and a SIGKILL at another.

`python tests/faults/run.py --runs N [--seed S]` prints one JSON line: injected, pictures, answered, failed
(reported to the device), lost, duplicated, material_reused, plaintext_found, and the faults by kind. The invariant:
every picture is answered once with the float network's label or reported failed, no slot of material is burnt twice,
and no pixels, keys or shares lie in any log or store.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import random
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

sys.path.insert(0, str(Path(__file__).parents[1] / "system"))
sys.path.insert(0, str(Path(__file__).parent))
import service_kit as kit
from place import Place

from blindsight.app import certificates
from blindsight.wire import result, topics

PATIENCE_S = 120.0


Fault = Callable[[Place, random.Random], None]


def _kill(place: Place, rng: random.Random) -> str:
    """SIGKILL, as a power cut would, and a start."""
    name = rng.choice(["cloud", "helper", "broker"])
    process = getattr(place, name)
    process.kill()
    time.sleep(rng.uniform(0, 0.5))
    process.start()
    return f"kill {name}"


def _session_lost(place: Place, rng: random.Random) -> None:
    """The broker comes back without what it had stored: sessions, subscriptions, queued and retained messages."""
    place.broker.kill()
    for file in (place.folder / "broker" / "data").iterdir():
        file.unlink()
    place.broker.start()


def _restarted(place: Place, rng: random.Random) -> None:
    place.broker.stop()
    place.broker.start()


def _frozen(name: str) -> Fault:
    def fault(place: Place, rng: random.Random) -> None:
        process = getattr(place, name).process
        process.send_signal(signal.SIGSTOP)
        time.sleep(rng.choice([0.5, 2, 7]))  # 7 s: longer than the link's patience
        process.send_signal(signal.SIGCONT)

    return fault


def _network(net: str, what: str) -> Fault:
    def fault(place: Place, rng: random.Random) -> None:
        proxy = place.nets[net]
        if what == "cut":
            proxy.cut(rng.uniform(0, 1))
        elif what == "cut at a message of":
            proxy.count(1 + int(2 ** rng.uniform(0, 8 if net == "cloud-helper" else 6)))
        elif what == "stall":
            proxy.stall(rng.choice([0.5, 2, 7]))
        else:
            proxy.corrupt(rng.randint(1, 3))

    return fault


def _disk_full(name: str) -> Fault:
    """No file of the process may grow for a while, as on a full disk."""

    def fault(place: Place, rng: random.Random) -> None:
        pid = getattr(place, name).process.pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        time.sleep(rng.uniform(0.5, 2))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    return fault


def _clock(place: Place, rng: random.Random) -> None:
    """Both services' clock jumps, by minutes or days, and comes back."""
    place.clock.write_text(str(rng.choice([-86400, -1800, -60, 60, 7200, 2 * 86400])))
    time.sleep(rng.uniform(0.5, 3))
    place.clock.write_text("0")


def _expired(who: str) -> Fault:
    """A certificate runs out, connections are made anew, and somebody puts a good one in its place."""

    def fault(place: Place, rng: random.Random) -> None:
        folder = place.folder / "site" / "tls"
        good = {f: f.read_bytes() for f in (folder / f"{who}.pem", folder / f"{who}.key")}
        authority = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
        ca = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        key, host = ec.generate_private_key(ec.SECP256R1()), certificates.SERVERS[who]
        expired = certificates._sign(host, key, host, authority, ca, -1, certificates.BOTH)  # type: ignore[arg-type]
        certificates._write(folder, who, expired, key)
        nets = ["cloud-helper"] if who == "cloud" else ["device-broker", "cloud-broker"]
        for content in (None, good):
            for file, data in (content or {}).items():
                file.write_bytes(data)
            if who == "broker":
                with contextlib.suppress(ProcessLookupError):
                    place.broker.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
            for net in nets:
                place.nets[net].cut()
            time.sleep(rng.uniform(1, 2))

    return fault


def _flood(place: Place, rng: random.Random) -> None:
    """A device fills its quota with blocks of pictures that never become whole, and sends nonsense."""
    for _ in range(150):
        image = rng.randbytes(16)
        topic, size = topics.block("cam-flood", image, rng.randrange(40)), rng.choice([1, 3000, 60000])
        place.flood.client.publish(topic, rng.randbytes(size), qos=1)
        place.flood.client.publish(topics.manifest("cam-flood", image), rng.randbytes(300), qos=1)


def _slow(place: Place, rng: random.Random) -> None:
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


def _untidy(place: Place, rng: random.Random) -> None:
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


def one_run(place: Place, rng: random.Random, fault: str, tally: collections.Counter[str]) -> str:
    """Pictures of every device, one fault and one SIGKILL among them, then every answer; returns which kill."""
    sent: list[tuple[kit.Client, kit.Parcel]] = []
    for device, client in zip(place.devices, place.clients, strict=True):
        for _ in range(2):
            parcel = device.picture(place.x[rng.randrange(len(place.x))].tobytes())
            client.send(parcel)
            sent.append((client, parcel))
    first, second = (FAULTS[fault], _kill) if rng.random() < 0.5 else (_kill, FAULTS[fault])
    killed = ""
    for inject in (first, second):
        time.sleep(rng.uniform(0, 1))
        killed = inject(place, rng) or killed
    tally["injected"] += 2
    sent, place.extra = sent + place.extra, []
    for client, parcel in sent:
        place.canaries.add(canary(parcel.pixels))
        label = place.label[parcel.pixels]
        tally["pictures"] += 1
        try:
            message = client.wait(parcel, seconds=PATIENCE_S, resend_s=2)
        except AssertionError:
            tally["lost"] += 1
            continue
        assert message is not None
        if isinstance(result.parse(message), result.Failure):
            tally["failed"] += 1
            continue
        tally["answered"] += 1
        tally["wrong"] += int(parcel.open(message) != label)
        place.answered.append((client, parcel.image))
    return killed


def canary(pixels: bytes) -> bytes:
    """The most particular 24 bytes of a picture: found anywhere, they are no accident."""
    return max((pixels[i : i + 24] for i in range(len(pixels) - 24)), key=lambda w: len(set(w)))


def suite(runs: int, seed: int, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The whole suite; `say` gets a line a run."""
    rng, tally, kinds = random.Random(seed), collections.Counter[str](), collections.Counter[str]()
    place = Place(folder)
    order: list[str] = []
    stop = threading.Event()  # SIGTERM: no further run; what was counted is reported
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        for i in range(runs):
            if stop.is_set():
                break
            if not order:
                order = rng.sample(sorted(FAULTS), len(FAULTS))
            fault = order.pop()
            kinds[fault] += 1
            started = time.monotonic()
            kinds[one_run(place, rng, fault, tally)] += 1
            say(
                f"{i + 1}/{runs} {fault}: {tally['answered']} of {tally['pictures']} answered, {time.monotonic() - started:.1f} s"
            )
        tally["duplicated"] = sum(len(set(client.answers[image])) > 1 for client, image in place.answered)
        reused, found = place.reused(), place.found()
    finally:
        place.stop()
    tally["runs"] = sum(kinds[f] for f in FAULTS)
    names = ("runs", "injected", "pictures", "answered", "failed", "lost", "duplicated", "wrong")
    return {
        **{n: tally[n] for n in names},
        "material_reused": reused,
        "plaintext_found": found,
        "seed": seed,
        "faults": dict(sorted(kinds.items())),
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=len(FAULTS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="blindsight-faults-") as folder:
        report = suite(
            options.runs,
            options.seed,
            options.keep or Path(folder),
            lambda line: print(line, file=sys.stderr, flush=True),
        )
    print(json.dumps(report))
    bad = ("lost", "duplicated", "wrong", "material_reused", "plaintext_found")
    return int(any(report[name] for name in bad))


if __name__ == "__main__":
    sys.exit(main())
