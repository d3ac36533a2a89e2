"""The fault suite: real services, TLS, Mosquitto; every run a fault at a random moment, and a SIGKILL at another.

`python tests/faults/run.py --runs N [--seed S]` prints one JSON line: injected, effective (those that were seen to hit
something, where that can be seen), pictures, answered, failed (reported to the device; `failures`: why), lost, duplicated,
material_reused, burnt (slots of both parties), plaintext_found, and the faults by kind (`idle`: of which without effect).
The invariant, `broken`: every picture is answered once with the float network's label, but for a few that are reported
failed and stay so; no slot of material is burnt twice, and no pixels or keys lie in any log or store.
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
# The one failure that a fault may bring about: a picture's attempts are counted, and a server that is away for long uses
# them up. 200 runs had none in 1,248 pictures.
MAY_FAIL, FEW = result.FailureCode.GAVE_UP, 0.03

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
            connections = proxy.cut(rng.uniform(0, 1))
            return lambda: connections > 0
        if what == "cut at a message of":
            proxy.count(1 + int(2 ** rng.uniform(0, 8 if net == "cloud-helper" else 6)))
            return lambda: not proxy.armed
        if what == "stall":
            stalled = proxy.stalled
            proxy.stall(rng.choice([0.5, 2, 7]))
            return lambda: proxy.stalled > stalled
        corrupted = proxy.corrupted
        proxy.corrupt(rng.randint(1, 3))
        return lambda: proxy.corrupted > corrupted

    return fault


def _disk_full(name: str) -> Fault:
    """No file of the process may grow for a while, as on a full disk."""

    def fault(place: Place, rng: random.Random) -> Seen:
        pid = getattr(place, name).process.pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        time.sleep(rng.uniform(0.5, 2))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
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
        connections = 0
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
                connections += place.nets[net].cut()
            time.sleep(rng.uniform(1, 2))
        return lambda: connections > 0

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


class Tally:
    """What has been counted so far."""

    def __init__(self) -> None:
        self.counts, self.kinds, self.idle, self.failures = (collections.Counter[str]() for _ in range(4))


def one_run(place: Place, rng: random.Random, fault: str, tally: Tally) -> None:
    """Pictures of every device, one fault and one SIGKILL among them, then every answer."""
    sent: list[tuple[kit.Client, kit.Parcel]] = []
    for device, client in zip(place.devices, place.clients, strict=True):
        for _ in range(2):
            parcel = device.picture(place.x[rng.randrange(len(place.x))].tobytes())
            client.send(parcel)
            sent.append((client, parcel))
    injected: list[tuple[str, Seen]] = []
    for name in rng.sample([fault, rng.choice(sorted(KILLS))], 2):
        time.sleep(rng.uniform(0, 1))
        injected.append((name, {**FAULTS, **KILLS}[name](place, rng)))
    sent, place.extra = sent + place.extra, []
    counts = tally.counts
    for client, parcel in sent:
        place.canaries.add(canary(parcel.pixels))
        place.sent.append((client, parcel.image))
        counts["pictures"] += 1
        try:
            message = client.wait(parcel, seconds=PATIENCE_S, resend_s=2)
        except AssertionError:
            counts["lost"] += 1
            continue
        assert message is not None
        answer = result.parse(message)
        if isinstance(answer, result.Failure):
            counts["failed"] += 1
            tally.failures[f"{answer.code.name}: {answer.reason}"] += 1
            continue
        counts["answered"] += 1
        counts["wrong"] += int(parcel.open(message) != place.label[parcel.pixels])
    for name, seen in injected:
        tally.kinds[name] += 1
        tally.idle[name] += not seen()
    counts["injected"] += len(injected)
    for proxy in place.nets.values():
        proxy.count()  # what was not met by now is not the next run's


def canary(pixels: bytes) -> bytes:
    """The most particular 24 bytes of a picture: found anywhere, they are no accident."""
    return max((pixels[i : i + 24] for i in range(len(pixels) - 24)), key=lambda w: len(set(w)))


def suite(runs: int, seed: int, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The whole suite; `say` gets a line a run."""
    rng, tally = random.Random(seed), Tally()
    place = Place(folder)
    order: list[str] = []
    counts = tally.counts
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
            started = time.monotonic()
            one_run(place, rng, fault, tally)
            counts["runs"] += 1
            say(
                f"{i + 1}/{runs} {fault}: {counts['answered']} of {counts['pictures']} answered, {time.monotonic() - started:.1f} s"
            )
        # Whatever came for a picture, at any time: two different answers, or an answer after a failure, are one too many.
        counts["duplicated"] = sum(
            len(set(client.answers.get(image, ()))) > 1 for client, image in place.sent
        )
        burnt, reused, found = len(place.burnt()), place.reused(), place.found()
    finally:
        place.stop()
    counts["effective"] = counts["injected"] - tally.idle.total()
    names = ("runs", "injected", "effective", "pictures", "answered", "failed", "lost", "duplicated", "wrong")
    return {
        **{n: counts[n] for n in names},
        "material_reused": reused,
        "burnt": burnt,
        "plaintext_found": found,
        "seed": seed,
        "faults": dict(sorted(tally.kinds.items())),
        "idle": dict(sorted((+tally.idle).items())),
        "failures": dict(tally.failures),
    }


def broken(report: dict[str, Any]) -> list[str]:
    """What of the invariant a report breaks, or shows too little for; empty if nothing."""
    none = ("lost", "duplicated", "wrong", "material_reused", "plaintext_found")
    out = [name for name in none if report[name]]
    few = max(1, int(FEW * report["pictures"]))
    if report["failed"] > few or any(not why.startswith(MAY_FAIL.name) for why in report["failures"]):
        out.append("failed")
    if not 0 < report["answered"] == report["pictures"] - report["failed"] - report["lost"]:
        out.append("answered")
    if (
        report["burnt"] < 2 * report["answered"]
    ):  # each party burns a slot a picture, or nothing was looked at
        out.append("burnt")
    if not 0 < report["injected"] == 2 * report["runs"] or report["effective"] < 0.75 * report["injected"]:
        out.append("effective")
    return out


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
    return int(bool(broken(report)))


if __name__ == "__main__":
    sys.exit(main())
