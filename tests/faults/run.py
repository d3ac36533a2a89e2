"""The fault suite: real services, TLS, Mosquitto, and one fault a run at a random moment.

`python tests/faults/run.py --runs N [--seed S]` prints one JSON line: injected, pictures, answered, failed
(reported to the device), lost, duplicated, material_reused, and the faults by kind. The invariant: every
picture is answered once with the float network's label or reported failed, and no slot of material is burnt
twice.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "system"))
sys.path.insert(0, str(Path(__file__).parent))
import service_kit as kit
from proxy import Proxy

from blindsight.app.broker import mosquitto_acl, mosquitto_conf, mosquitto_passwords
from blindsight.app.site import CLOUD_USER, BrokerAddress, Site
from blindsight.models import zoo
from blindsight.nn import floatnet
from blindsight.nn.model import Model
from blindsight.wire import result

MODES = ("rlwe", "rlwe-sk", "aes")
PATIENCE_S = 120.0


class Place:
    """Broker, both services and three devices, with a proxy on every network between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = Site(folder / "site")
        broker_port, link_port = kit.free_port(), kit.free_port()
        self.nets = {
            "device-broker": Proxy(broker_port),
            "cloud-broker": Proxy(broker_port),
            "cloud-helper": Proxy(link_port),
        }
        self.ca = folder / "site" / "tls" / "ca.pem"
        password = self.site.account(CLOUD_USER)
        address = BrokerAddress("localhost", self.nets["cloud-broker"].port, self.ca, CLOUD_USER, password)
        workers = (
            "retry_s = 0.05\nretry_max_s = 0.5\nmaterial_low = 2\nmaterial_high = 8\nmaterial_batch = 8\n"
        )
        self.site.init(address, link_port, cloud=workers)
        text = self.site.cloud_toml.read_text()
        # The cloud reaches the helper through the proxy; a stall of the link is noticed within seconds.
        link = f"port = {self.nets['cloud-helper'].port}\ntimeout_s = 6\n"
        self.site.cloud_toml.write_text(text.replace(f"port = {link_port}\n", link))
        text = self.site.helper_toml.read_text()
        self.site.helper_toml.write_text(
            text.replace(f"port = {link_port}\n", f"port = {link_port}\ntimeout_s = 6\n")
        )
        self.site.add_model(zoo.path("mnist"))
        self.model = Model.load(zoo.path("mnist"))
        with np.load(zoo.pictures("mnist"), allow_pickle=False) as data:
            self.x = data["x"]
        self.labels = floatnet.forward(self.model.graph, self.x[..., None]).argmax(axis=1)
        self.devices = [self._enrol(f"cam-{mode}", mode) for mode in MODES]
        self.broker = self._start_broker(broker_port)
        self.helper = self._service("helper", self.site.helper_toml)
        self.cloud = self._service("cloud", self.site.cloud_toml)
        self.cloud.until("subscribed", seconds=60)
        self.clients = [self._client(d.name) for d in self.devices]

    def _enrol(self, name: str, mode: str) -> kit.Device:
        self.site.account(name)
        register = self.site.register()
        provision = register.provision(name)
        register.close()
        return kit.Device(provision, self.model.plan, mode, 1)

    def _start_broker(self, port: int) -> kit.Process:
        out = self.folder / "broker"
        (out / "data").mkdir(parents=True)
        conf = mosquitto_conf(out, port, "password", self.folder / "site" / "tls")
        (out / "mosquitto.conf").write_text(conf + "user root\n")
        (out / "acl.conf").write_text(mosquitto_acl([d.name for d in self.devices], CLOUD_USER))
        mosquitto_passwords(out / "passwords", self.site.accounts)
        assert kit.MOSQUITTO
        broker = kit.Process(
            [kit.MOSQUITTO, "-c", str(out / "mosquitto.conf")], self.folder / "mosquitto.log"
        ).start()
        kit.wait_port(port)
        return broker

    def _service(self, name: str, config: Path) -> kit.Process:
        script = str(Path(__file__).with_name("service.py"))
        command = [sys.executable, script, name, str(config), str(self.folder / f"burnt-{name}.log")]
        return kit.Process(command, self.folder / f"{name}.log", {"OMP_NUM_THREADS": "1"}).start()

    def _client(self, name: str) -> kit.Client:
        port = self.nets["device-broker"].port
        return kit.Client(
            name, port, host="localhost", account=(name, self.site.accounts[name]), ca_certs=str(self.ca)
        )

    def reused(self) -> int:
        """Slots of material burnt more than once, over both parties and all restarts."""
        total = 0
        for log in self.folder.glob("burnt-*.log"):
            lines = log.read_text().splitlines()
            total += len(lines) - len(set(lines))
        return total

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        for process in (self.cloud, self.helper, self.broker):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.stop()
        for net in self.nets.values():
            net.close()


Fault = Callable[[Place, random.Random], None]


def _killed(name: str) -> Fault:
    def fault(place: Place, rng: random.Random) -> None:
        process = getattr(place, name)
        process.kill()
        time.sleep(rng.uniform(0, 0.5))
        process.start()

    return fault


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


FAULTS: dict[str, Fault] = {
    **{f"kill {n}": _killed(n) for n in ("cloud", "helper", "broker")},
    **{f"freeze {n}": _frozen(n) for n in ("cloud", "helper")},
    **{
        f"{w} {n}": _network(n, w)
        for n in ("device-broker", "cloud-broker", "cloud-helper")
        for w in ("cut", "stall", "corrupt")
    },
    **{f"disk full {n}": _disk_full(n) for n in ("cloud", "helper")},
}


def one_run(place: Place, rng: random.Random, fault: str, tally: collections.Counter[str]) -> None:
    """Pictures of every device, one fault among them, then every answer."""
    parcels = []
    for device, client in zip(place.devices, place.clients, strict=True):
        for _ in range(2):
            n = rng.randrange(len(place.x))
            parcel = device.picture(place.x[n].tobytes())
            client.send(parcel)
            parcels.append((client, parcel, n))
    time.sleep(rng.uniform(0, 1.5))
    FAULTS[fault](place, rng)
    tally["injected"] += 1
    for client, parcel, n in parcels:
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
        tally["wrong"] += int(parcel.open(message) != place.labels[n])
        tally["duplicated"] += int(len(set(client.answers[parcel.image])) > 1)


def suite(runs: int, seed: int, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The whole suite; `say` gets a line a run."""
    rng, tally, kinds = random.Random(seed), collections.Counter[str](), collections.Counter[str]()
    place = Place(folder)
    order: list[str] = []
    try:
        for i in range(runs):
            if not order:
                order = rng.sample(sorted(FAULTS), len(FAULTS))
            fault = order.pop()
            kinds[fault] += 1
            started = time.monotonic()
            one_run(place, rng, fault, tally)
            say(
                f"{i + 1}/{runs} {fault}: {tally['answered']} of {tally['pictures']} answered, {time.monotonic() - started:.1f} s"
            )
        reused = place.reused()
    finally:
        place.stop()
    names = ("injected", "pictures", "answered", "failed", "lost", "duplicated", "wrong")
    return {
        **{n: tally[n] for n in names},
        "material_reused": reused,
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
    return int(bool(report["lost"] or report["duplicated"] or report["wrong"] or report["material_reused"]))


if __name__ == "__main__":
    sys.exit(main())
