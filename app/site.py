"""A test set-up in one folder: keys, certificates, settings, models and device directories.

`blindsight keys init` makes it, the other commands extend it. In production the two servers are two machines
of two operators: copy `helper/` and `helper.toml` to one, `cloud/` and `cloud.toml` to the other, and keep
`tls/ca.key` on neither.

    helper.toml  helper/{master.key, plans/, helper.db, material/}     the helper's alone cloud.toml
    cloud/{models/, cloud.db, material/}                  the cloud's alone tls/{ca.pem, ca.key, cloud.pem,
    cloud.key, helper.pem, helper.key} devices/NAME/{config.json, secret.bin, pk.bin}                     each
    device's alone accounts.json                                                      broker accounts, where
    the site makes them
"""

from __future__ import annotations

import json
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blindsight.app import certificates
from blindsight.app.modelfile import split_files
from blindsight.cloud.models import Registry, Version
from blindsight.helper.config import HelperConfig
from blindsight.helper.keys import Keys, Provision, new_master, read_master
from blindsight.helper.plans import Plans
from blindsight.helper.store import Store
from blindsight.nn.plan import Plan
from blindsight.offline.cursor import write_durably
from blindsight.service.config import load
from blindsight.wire import keys as wire_keys
from blindsight.wire.blocks import Mode

CLOUD_USER = "cloud"


class SiteError(Exception):
    """One line that names the fix."""


@dataclass(frozen=True)
class BrokerAddress:
    """Where devices and cloud find the broker; with `ca` (a file of the site or elsewhere) over TLS."""

    host: str = "127.0.0.1"
    port: int = 1883
    ca: Path | None = None
    user: str | None = None
    password: str | None = None
    certificates: bool = False  # clients show a certificate of the site's own authority for them


class Site:
    """The set-up in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cloud_toml, self.helper_toml = folder / "cloud.toml", folder / "helper.toml"
        self.models = Registry(folder / "cloud" / "models")
        self.plans = Plans(folder / "helper" / "plans")
        self.clients = certificates.Clients(folder / "tls" / "clients")

    def init(self, broker: BrokerAddress, link_port: int = 7610, tls: bool = True, cloud: str = "") -> None:
        """Makes master secret, certificates and both settings files; refuses a folder that has them. `cloud`:
        more lines of TOML for the cloud's [workers] table.
        """
        if self.cloud_toml.exists() or self.helper_toml.exists():
            raise SiteError(
                f"{self.folder} holds a set-up already; choose another folder or remove it by hand"
            )
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        new_master(self.folder / "helper" / "master.key")
        for part in ("cloud/models", "helper/plans", "devices"):
            (self.folder / part).mkdir(parents=True, exist_ok=True, mode=0o700)
        if tls:
            certificates.make(self.folder / "tls")
        link = f"port = {link_port}\n"
        broker_lines = f'host = "{broker.host}"\nport = {broker.port}\n'
        if broker.ca is not None:
            broker_lines += f'ca = "{broker.ca.resolve()}"\n'
        if broker.certificates or broker.user is not None:
            broker_lines += (
                'protocol = "5"\n'  # a broker in earnest; the embedded one of the demo speaks 3.1.1
            )
        if broker.certificates:
            self.clients.create()
            self.clients.issue(CLOUD_USER, 0, self.folder / "tls" / "clients", CLOUD_USER)
            broker_lines += 'certificate = "tls/clients/cloud.pem"\nkey = "tls/clients/cloud.key"\n'
        if broker.user is not None:
            write_durably(self.folder / "cloud" / "broker.password", (broker.password or "").encode())
            broker_lines += f'user = "{broker.user}"\npassword_file = "cloud/broker.password"\n'
        self.cloud_toml.write_text(
            'data = "cloud"\nmodels = "cloud/models"\n\n[broker]\n' + broker_lines
            + "\n[helper]\n" + link + (_tls_lines("cloud") if tls else "") + "\n[workers]\n" + cloud
        )  # fmt: skip
        self.helper_toml.write_text(
            'data = "helper"\nplans = "helper/plans"\nmaster = "helper/master.key"\n\n[listen]\n'
            + link + (_tls_lines("helper") if tls else "")
        )  # fmt: skip

    @property
    def accounts(self) -> dict[str, str]:
        """Broker accounts (user -> password) of a site that makes its own; empty otherwise."""
        path = self.folder / "accounts.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def account(self, user: str) -> str:
        """The password of `user`, drawn at random where there is none yet."""
        known = self.accounts
        if user not in known:
            known[user] = secrets.token_urlsafe(24)
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_durably(self.folder / "accounts.json", json.dumps(known, indent=1).encode())
        return known[user]

    def add_model(self, source: Path) -> Version:
        """Installs a model at both servers and activates it: M.bsm at the cloud and the plan alone at the
        helper, or, from the folder of a split model, each server's share.
        """
        if source.is_dir():
            cloud, helper, _ = split_files(source)
            version = self.models.add(cloud)
            self.plans.add_share(helper)
        else:
            version = self.models.add(source)
            with tempfile.TemporaryDirectory() as folder:
                plan = Path(folder) / f"{version.name}.plan.json"
                plan.write_text(self.models.plan(version).to_json())
                self.plans.add(plan)
        return self.models.activate(version.name, version.id.hex())

    def register(self) -> Keys:
        """The helper's register of devices; close it after use."""
        config = load(HelperConfig, self.helper_toml)
        return Keys(read_master(config.master), config.database, config.master)

    def device(
        self, name: str, model: str, mode: str, broker: BrokerAddress, fleet: bool = False, **settings: Any
    ) -> Path:
        """Enrols a device (or begins its next epoch) and writes its directory; `settings` go into
        config.json.
        """
        check_name(name)
        Mode.named(mode)
        plan = self.models.plan(self.models.active(model))
        register = self.register()
        try:
            provision = register.provision(name, fleet)
        finally:
            register.close()
        return self.write_device(provision, plan, mode, broker, settings)

    def certificate(self, device: str, epoch: int, days: int = certificates.DAYS) -> certificates.Issued:
        """A fresh certificate and key for an enrolled device, into its directory; the former stays good."""
        return self.clients.issue(check_name(device), epoch, self.folder / "devices" / device, "client", days)

    def revoke(self, device: str, former: bool = False) -> tuple[int, int]:
        """Ends a device's keys and certificates (`former`: all but the newest epoch's); how many of each."""
        register = self.register()
        try:
            ended = register.retire(device) if former else register.revoke(device)
            epoch = register.current(device).epoch if former else None
            store = Store(load(HelperConfig, self.helper_toml).database)
            store.prune()
            store.close()
        finally:
            register.close()
        return ended, self.clients.revoke(device, epoch) if self.clients.ready else 0

    def write_device(
        self, provision: Provision, plan: Plan, mode: str, broker: BrokerAddress, settings: dict[str, Any]
    ) -> Path:
        """config.json, secret.bin and pk.bin, the two secrets with mode 0600."""
        folder = self.folder / "devices" / provision.device
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        where: dict[str, Any] = {"host": broker.host, "port": broker.port, "tls": broker.ca is not None}
        if broker.ca is not None:
            write_durably(folder / "ca.pem", broker.ca.read_bytes())
            where["ca"] = "ca.pem"
        if self.clients.ready and broker.ca is not None:
            self.certificate(provision.device, provision.epoch)
            where |= {"certificate": "client.pem", "key": "client.key"}
        if broker.user is not None:
            where |= {"user": broker.user, "password": broker.password or ""}
        config = {
            "device": provision.device,
            "epoch": provision.epoch,
            "model": plan.name,
            "plan_hash": plan.hash.hex(),
            "labels": list(plan.labels),
            "reveal": plan.reveal.mode,
            "output_scale_bits": plan.result_scale,
            "mode": mode,
            "height": plan.height,
            "width": plan.width,
            "channels": plan.channels,
            "polys_per_block": 4,
            "broker": where,
            "camera": {"kind": "replay", "path": "frames.bin"},
            "interval_s": 0,
            "count": 0,
            **settings,
        }
        write_durably(folder / "config.json", json.dumps(config, indent=1).encode())
        write_durably(folder / "secret.bin", provision.secret)
        write_durably(folder / "pk.bin", provision.public_key)
        return folder


def check_name(device: str) -> str:
    """`device` itself if a device may be called so: the cloud's account at the broker is nobody else's."""
    if wire_keys.check_device(device) == CLOUD_USER:
        raise SiteError(f"no device is called {CLOUD_USER!r}: it is the cloud's account at the broker")
    return device


def _tls_lines(who: str) -> str:
    return f'ca = "tls/ca.pem"\ncertificate = "tls/{who}.pem"\nkey = "tls/{who}.key"\n'
