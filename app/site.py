"""A set-up in one folder: keys, certificates, settings, models and device directories.

`blindsight keys init` makes it, the other commands extend it. In production the two servers are two machines of two
operators (docs/howto/deploy.md): each half works where it was copied, the third machine keeps what admits servers and
devices. A command that needs a half which is elsewhere says where to go.

    helper.toml  helper/{master.key, broker-ca.pem, plans/, helper.db, material/}    the helper's alone
    cloud.toml   cloud/{models/, cloud.db, material/}                                the cloud's alone
    tls/{ca.pem, cloud.pem, cloud.key, helper.pem, helper.key, ...}                  each server's own
    devices/NAME/{config.json, secret.bin, pk.bin, ca.pem}                           each device's alone
    tls/ca.key   tls/clients/   accounts.json                                        neither server's
"""

from __future__ import annotations

import json
import secrets
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blindsight.app import certificates, devicefolder
from blindsight.app.modelfile import split_files
from blindsight.cloud.config import CloudConfig
from blindsight.cloud.models import Registry, Version
from blindsight.helper.config import HelperConfig
from blindsight.helper.keys import Keys, Provision, new_master, read_master
from blindsight.helper.plans import Plans
from blindsight.helper.store import Store
from blindsight.nn.plan import Plan
from blindsight.offline.cursor import write_durably
from blindsight.service.config import load
from blindsight.service.secretfile import read_secret
from blindsight.service.settings import place_name
from blindsight.wire import keys as wire_keys
from blindsight.wire.blocks import Mode

CLOUD_USER = "cloud"


class SiteError(Exception):
    """One line that names the fix."""


@dataclass(frozen=True)
class BrokerAddress:
    """Where devices and cloud find the broker; with `ca` (a file of the site or elsewhere) over TLS. A user without a
    password gets one later (`devicefolder.give_account`).
    """

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

    @property
    def whole(self) -> bool:
        """Whether the cloud's half is here, as it is until the halves are handed out."""
        return self.cloud_toml.exists()

    @property
    def enrols(self) -> bool:
        """Whether the helper's half is here: keys are made and destroyed where its master is."""
        return self.helper_toml.exists() and load(HelperConfig, self.helper_toml).master.exists()

    @property
    def admits(self) -> bool:
        """Whether the authority of the broker's clients, or their accounts, are here."""
        return self.clients.ready or bool(self.accounts)

    def helper(self) -> HelperConfig:
        """The helper's settings, where its half is here; else an error that says where to go."""
        if not self.enrols:
            raise SiteError(
                f"{self.folder} does not hold the helper's keys: run this on the helper's machine "
                "(a new set-up begins with `blindsight keys init`)"
            )
        return load(HelperConfig, self.helper_toml)

    @property
    def store(self) -> str:
        """The store that holds the register, for people: a copy of it elsewhere is another."""
        return place_name(self.helper().database)

    def check_new(self) -> None:
        """Refuses a folder that holds a set-up, or what is left of one that was handed out."""
        if any(p.exists() for p in (self.cloud_toml, self.helper_toml, self.folder / "tls" / "ca.key")):
            raise SiteError(
                f"{self.folder} holds a set-up already; choose another folder or remove it by hand"
            )

    def init(self, broker: BrokerAddress, link_port: int = 7610, tls: bool = True, cloud: str = "") -> None:
        """Makes master secret, certificates and both settings files; refuses a folder that has them. `cloud`:
        more lines of TOML for the cloud's [workers] table.
        """
        self.check_new()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        new_master(self.folder / "helper" / "master.key")
        for part in ("cloud/models", "helper/plans", "devices"):
            (self.folder / part).mkdir(parents=True, exist_ok=True, mode=0o700)
        if tls:
            certificates.make(self.folder / "tls")
        link = f"port = {link_port}\n"
        broker_lines = f'host = "{broker.host}"\nport = {broker.port}\n'
        devices = f'[devices]\nbroker = "{broker.host}"\nport = {broker.port}\n'
        if broker.ca is not None:
            own = broker.ca.resolve() == (self.folder / "tls" / "ca.pem").resolve()
            broker_lines += f'ca = "{"tls/ca.pem" if own else broker.ca.resolve()}"\n'
            write_durably(self.folder / "helper" / "broker-ca.pem", broker.ca.read_bytes())
            devices += 'ca = "helper/broker-ca.pem"\n'
        if broker.certificates or broker.user is not None:
            broker_lines += (
                'protocol = "5"\n'  # a broker in earnest; the embedded one of the demo speaks 3.1.1
            )
        if broker.certificates:
            self.clients.create()
            self.clients.issue(CLOUD_USER, 0, self.folder / "tls" / "clients", CLOUD_USER)
            devices += "certificates = true\n"
            broker_lines += 'certificate = "tls/clients/cloud.pem"\nkey = "tls/clients/cloud.key"\n'
        if broker.user is not None:
            devices += "accounts = true\n"
            write_durably(self.folder / "cloud" / "broker.password", (broker.password or "").encode())
            broker_lines += f'user = "{broker.user}"\npassword_file = "cloud/broker.password"\n'
        self.cloud_toml.write_text(
            'data = "cloud"\nmodels = "cloud/models"\n\n[broker]\n' + broker_lines
            + "\n[helper]\n" + link + (_tls_lines("cloud") if tls else "") + "\n[workers]\n" + cloud
        )  # fmt: skip
        self.helper_toml.write_text(
            'data = "helper"\nplans = "helper/plans"\nmaster = "helper/master.key"\n\n' + devices + "\n[listen]\n"
            + link + (_tls_lines("helper") if tls else "")
        )  # fmt: skip

    @property
    def accounts(self) -> dict[str, str]:
        """Broker accounts (user -> password) of a site that makes its own; empty otherwise."""
        path = self.folder / "accounts.json"
        return json.loads(read_secret(path)) if path.exists() else {}

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
        config = self.helper()
        return Keys(read_master(config.master), config.database, config.master)

    def plan(self, model: str, plan_hash: str = "") -> Plan:
        """The plan that devices of a model are made for: the active one; of the helper's, which knows no activations,
        the only one, or the one whose hash begins with `plan_hash`.
        """
        if self.whole and not plan_hash:
            return self.models.plan(self.models.active(model))
        return Plans(self.helper().plans).find(model, plan_hash)

    def broker(self, device: str) -> BrokerAddress:
        """Where a device finds the broker: as the cloud does; on the helper's machine as its [devices] say, and there
        as whom, but not with what: who can read `down/` beside the helper's keys reads results.
        """
        told = self.helper().devices
        if self.whole:
            broker = load(CloudConfig, self.cloud_toml).broker
            return BrokerAddress(broker.host, broker.port, broker.ca)
        if not told.broker:
            raise SiteError(
                f"{self.helper_toml} does not say where devices find the broker: add a table [devices] with broker, "
                "port, ca, certificates, accounts (docs/operations.md)"
            )
        user = device if told.accounts else None
        return BrokerAddress(told.broker, told.port, told.ca, user, None, told.certificates)

    def device(
        self, name: str, model: str, mode: str, broker: BrokerAddress, fleet: bool = False, plan: str = "", **settings: Any,
    ) -> Path:  # fmt: skip
        """Enrols a device (or begins its next epoch) and writes its directory; `settings` go into
        config.json.
        """
        check_name(name)
        Mode.named(mode)
        made_for = self.plan(model, plan)
        with closing(self.register()) as register:
            provision = register.provision(name, fleet)
        return self.write_device(provision, made_for, mode, broker, settings)

    def certificate(self, device: str, epoch: int, days: int = certificates.DAYS) -> certificates.Issued:
        """A fresh certificate and key for an enrolled device, into its directory; the former stays good."""
        return self.clients.issue(check_name(device), epoch, self.device_folder(device), "client", days)

    def epoch(self, device: str) -> int:
        """The epoch a device is in: by the register, or, where that is elsewhere, by the directory brought from there."""
        if not self.enrols:
            return int(devicefolder.read(self.device_folder(device), device)["epoch"])
        with closing(self.register()) as register:
            return register.current(device).epoch

    def admitted(self) -> list[str]:
        """Devices that the broker is to let in: the enrolled ones; where the register is elsewhere, those that have a
        certificate or an account of this set-up.
        """
        if self.admits and not self.enrols:
            names = {e.name for e in self.clients.issued() if not e.revoked} | set(self.accounts)
            return sorted(names - {CLOUD_USER})
        with closing(self.register()) as register:
            return sorted({str(d["device"]) for d in register.devices() if d["state"] != "ended"})

    def revoke(self, device: str, former: bool = False) -> tuple[int, int]:
        """Ends a device's keys and certificates (`former`: all but the newest epoch's); how many of each."""
        with closing(self.register()) as register, closing(Store(self.helper().database)) as store:
            ended = register.retire(device) if former else register.revoke(device)
            epoch = register.current(device).epoch if former else None
            store.prune()
        return ended, self._shut_out(device, epoch)

    def revoke_at_broker(self, device: str, former: bool = False) -> int:
        """Certificates and account alone, where the register is elsewhere; how many certificates."""
        epochs = [e.epoch for e in self.clients.issued() if e.name == check_name(device) and not e.revoked]
        if not epochs and device not in self.accounts:
            raise SiteError(
                f"{self.folder} knows no certificate and no account of {device} that could be revoked"
            )
        return self._shut_out(device, max(epochs, default=0) if former else None)

    def _shut_out(self, device: str, keep: int | None) -> int:
        if device == CLOUD_USER:  # a device that an older version let be called so: the cloud stays
            return 0
        accounts = self.accounts
        if keep is None and accounts.pop(device, None) is not None:
            write_durably(self.folder / "accounts.json", json.dumps(accounts, indent=1).encode())
        return self.clients.revoke(device, keep) if self.clients.ready else 0

    def write_device(
        self, provision: Provision, plan: Plan, mode: str, broker: BrokerAddress, settings: dict[str, Any]
    ) -> Path:
        """The device's directory; with its certificate where this site issues them."""
        folder = self.device_folder(provision.device)
        for path in (folder.parent, folder):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        where: dict[str, Any] = {"host": broker.host, "port": broker.port, "tls": broker.ca is not None}
        if broker.ca is not None:
            write_durably(folder / "ca.pem", broker.ca.read_bytes())
            where["ca"] = "ca.pem"
            if self.clients.ready:
                self.certificate(provision.device, provision.epoch)
            if self.clients.ready or broker.certificates:  # elsewhere, by `blindsight keys certificate`
                where |= {"certificate": "client.pem", "key": "client.key"}
        if broker.user is not None:
            where["user"] = broker.user
        if broker.password is not None:
            where["password"] = broker.password
        return devicefolder.write(folder, provision, plan, mode, where, settings)

    def device_folder(self, device: str) -> Path:
        """Where the directory of a device is, or will be."""
        return self.folder / "devices" / check_name(device)


def check_name(device: str) -> str:
    """`device` itself if a device may be called so: the cloud's account at the broker is nobody else's."""
    if wire_keys.check_device(device) == CLOUD_USER:
        raise SiteError(f"no device is called {CLOUD_USER!r}: it is the cloud's account at the broker")
    return device


def _tls_lines(who: str) -> str:
    return f'ca = "tls/ca.pem"\ncertificate = "tls/{who}.pem"\nkey = "tls/{who}.key"\n'
