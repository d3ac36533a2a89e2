"""A whole set-up for the fault suite, the soak and the measurement of scale: real services, TLS, real Mosquitto."""

from __future__ import annotations

import collections
import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import service_kit as kit
from forms import Search
from proxy import Proxy

from blindsight.app.broker import mosquitto_acl, mosquitto_conf, mosquitto_passwords
from blindsight.app.site import CLOUD_USER, BrokerAddress, Site
from blindsight.models import zoo
from blindsight.nn import floatnet
from blindsight.nn.model import Model

MODES = ("rlwe", "rlwe-sk", "aes")
WORKERS = "retry_s = 0.05\nretry_max_s = 0.5\nmaterial_low = 1\nmaterial_high = 4\nmaterial_batch = 4\n"


class Place:
    """Broker, both services and three devices, with a proxy on every network between them.

    `clouds`: ingress processes over the shards, each with a worker pair of its own, on one store. `workers`: lines of
    their [workers] table. `devices`: name -> mode.
    """

    def __init__(
        self, folder: Path, clouds: int = 1, workers: str = WORKERS, devices: dict[str, str] | None = None
    ) -> None:
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
        labels = floatnet.forward(self.model.graph, self.x[..., None]).argmax(axis=1)
        self.label = {x.tobytes(): int(label) for x, label in zip(self.x, labels, strict=True)}
        self.earlier: dict[str, list[tuple[str, bytes]]] = collections.defaultdict(list)
        self.extra: list[tuple[kit.Client, kit.Parcel]] = []
        self.sent: list[tuple[kit.Client, bytes]] = []  # the ids of all pictures
        names = devices or {f"cam-{mode}": mode for mode in MODES}
        self.devices = [self._enrol(name, mode) for name, mode in names.items()]
        self.flooder = self._enrol("cam-flood", "rlwe")
        self.canaries: set[bytes] = set()
        self.clock = folder / "clock"
        self.clock.write_text("0")
        self.broker = self._start_broker(broker_port)
        self.helper = self._service("helper", self.site.helper_toml)
        self.clouds = [self._service("cloud", path, i) for i, path in enumerate(self._divide(clouds))]
        self.cloud = self.clouds[0]
        for cloud in self.clouds:
            cloud.until("subscribed", seconds=120)
        self.clients = [self._client(d.name) for d in self.devices]
        self.flood = self._client(self.flooder.name)

    def _divide(self, clouds: int) -> list[Path]:
        """One settings file a cloud process."""
        if clouds == 1:
            return [self.site.cloud_toml]
        text, out = self.site.cloud_toml.read_text(), []
        for i in range(clouds):
            shards = "0123456789abcdef"[i * 16 // clouds : (i + 1) * 16 // clouds]
            out.append(self.site.folder / f"cloud-{i}.toml")
            out[-1].write_text(
                f'shards = "{shards}"\n' + text.replace("[workers]\n", f'[workers]\nprefix = "c{i}-"\n')
            )
        return out

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
        (out / "acl.conf").write_text(
            mosquitto_acl([d.name for d in [*self.devices, self.flooder]], CLOUD_USER)
        )
        mosquitto_passwords(out / "passwords", self.site.accounts)
        assert kit.MOSQUITTO
        broker = kit.Process(
            [kit.MOSQUITTO, "-c", str(out / "mosquitto.conf")], self.folder / "mosquitto.log"
        ).start()
        kit.wait_port(port)
        return broker

    def _service(self, name: str, config: Path, number: int = 0) -> kit.Process:
        script = str(Path(__file__).with_name("service.py"))
        command = [
            sys.executable,
            script,
            name,
            str(config),
            str(self.folder / f"burnt-{name}.log"),
            str(self.clock),
        ]
        return kit.Process(command, self.folder / f"{name}-{number}.log", {"OMP_NUM_THREADS": "1"}).start()

    def _client(self, name: str) -> kit.Client:
        port = self.nets["device-broker"].port
        return kit.Client(
            name, port, host="localhost", account=(name, self.site.accounts[name]), ca_certs=str(self.ca)
        )

    def burnt(self) -> list[str]:
        """Every slot of material that a party burnt, over all restarts."""
        return [line for log in self.folder.glob("burnt-*.log") for line in log.read_text().splitlines()]

    def reused(self) -> int:
        """Slots of material burnt more than once; means something only where `burnt` has what the pictures took."""
        burnt = self.burnt()
        return len(burnt) - len(set(burnt))

    def found(self) -> int:
        """Files of logs and stores in which a canary lies, in any form: pixels of a picture, a device's or the master's
        key.
        """
        secrets = {d.provision.secret for d in self.devices}
        search = Search(self.canaries | secrets | {(self.folder / "site/helper/master.key").read_bytes()})
        places = [*self.folder.glob("*.log"), *(self.folder / "broker" / "data").rglob("*")]
        for who in ("cloud", "helper"):
            places += [p for p in (self.folder / "site" / who).rglob("*") if p.name != "master.key"]
        return sum(search.found(p.read_bytes()) for p in places if p.is_file())

    def stop(self) -> None:
        for client in [*self.clients, self.flood]:
            client.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # frozen by a fault: killed
            kit.stop_all(*self.clouds, self.helper, self.broker)
        for net in self.nets.values():
            net.close()
