"""`blindsight keys`: everything secret of a set-up. `blindsight model`: which networks it serves."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from blindsight.app import seal
from blindsight.app.certificates import DAYS, renew
from blindsight.app.modelfile import find_model
from blindsight.app.options import JsonOption, answer
from blindsight.app.site import CLOUD_USER, BrokerAddress, Site, SiteError
from blindsight.cloud.config import CloudConfig
from blindsight.cloud.models import Version
from blindsight.service.config import load

SiteOption = Annotated[Path, typer.Option("--site", help="folder of the set-up", file_okay=False)]
PasswordOption = Annotated[Path | None, typer.Option(help="its password, on one line", dir_okay=False)]


def register(app: typer.Typer) -> None:
    """Adds both groups."""
    keys = typer.Typer(help="Master secret, certificates, devices.", no_args_is_help=True)
    app.add_typer(keys, name="keys")
    _set_up(keys)
    _devices(keys)
    seal.add_to(keys)
    models = typer.Typer(help="Models a set-up serves, by name.", no_args_is_help=True)
    app.add_typer(models, name="model")
    _models(models)


def _set_up(keys: typer.Typer) -> None:
    @keys.command("init")
    def init(
        site: Annotated[Path, typer.Argument(help="folder to make", file_okay=False)],
        model: Annotated[
            list[str] | None, typer.Option(help="M.bsm or zoo name to serve; may be given again")
        ] = None,
        broker_host: Annotated[str, typer.Option(help="the broker's name")] = "127.0.0.1",
        broker_port: Annotated[int, typer.Option(help="its port")] = 1883,
        broker_ca: Annotated[
            str, typer.Option(help="authority of the broker's certificate: a file, or `own`; empty: no TLS")
        ] = "",
        accounts: Annotated[
            bool, typer.Option("--accounts", help="make broker accounts for the cloud and every device")
        ] = False,
        certificates: Annotated[
            bool,
            typer.Option(
                "--certificates", help="clients of the broker show certificates: an authority for them"
            ),
        ] = False,
        user: Annotated[str, typer.Option(help="the cloud's account at a broker that has one for it")] = "",
        password_file: PasswordOption = None,
        link_port: Annotated[int, typer.Option(help="port of the server link")] = 7610,
        as_json: JsonOption = False,
    ) -> None:
        """Make a test set-up: helper master, TLS of the server link, settings of both services."""
        place = Site(site)
        if place.cloud_toml.exists():
            raise SiteError(f"{site} holds a set-up already; choose another folder or remove it by hand")
        ca = site / "tls" / "ca.pem" if broker_ca == "own" else Path(broker_ca) if broker_ca else None
        if ca is not None and broker_ca != "own" and not ca.is_file():
            raise SiteError(f"--broker-ca {broker_ca}: no such file (`own` is the authority of this set-up)")
        if certificates and ca is None:
            raise SiteError("--certificates goes with --broker-ca: certificates are shown over TLS")
        files = [find_model(wanted) for wanted in model or []]  # before anything is made
        name, password = _credentials(user, password_file)
        if accounts and name is None:
            name, password = CLOUD_USER, place.account(CLOUD_USER)
        place.init(BrokerAddress(broker_host, broker_port, ca, name, password, certificates), link_port)
        for file in files:
            place.add_model(file)
        until = datetime.date.today() + datetime.timedelta(days=DAYS)
        answer(
            as_json,
            {
                "site": str(site), "cloud": str(place.cloud_toml), "helper": str(place.helper_toml),
                "certificates_until": until.isoformat(),
            },
            f"certificates of cloud, helper and broker are good until {until}; then `blindsight keys servers`\n"
            f"{site}: start `blindsight helper --config {place.helper_toml}` and "
            f"`blindsight cloud --config {place.cloud_toml}`",
        )  # fmt: skip


def _credentials(user: str, password_file: Path | None) -> tuple[str | None, str | None]:
    if not user:
        return None, None
    if password_file is None:
        raise SiteError("--user goes with --password-file FILE")
    return user, password_file.read_text().strip()


def _devices(keys: typer.Typer) -> None:
    @keys.command("device")
    def device(
        name: Annotated[str, typer.Argument(help="device id, a-z 0-9 -")],
        site: SiteOption,
        model: Annotated[str, typer.Option(help="name of an active model")],
        mode: Annotated[str, typer.Option(help="rlwe, rlwe-sk or aes")] = "rlwe",
        fleet: Annotated[
            bool, typer.Option(help="under the fleet-wide RLWE key: any device of it is trusted with all")
        ] = False,
        polys_per_block: Annotated[int, typer.Option(min=1, max=16, help="1,024-pixel pieces a message")] = 4,
        broker_host: Annotated[
            str, typer.Option(help="the broker as the device sees it (default: the cloud's)")
        ] = "",
        user: Annotated[str, typer.Option(help="the device's account at a broker that has one for it")] = "",
        password_file: PasswordOption = None,
        as_json: JsonOption = False,
    ) -> None:
        """Enrol a device, or begin its next epoch (the former key drains); writes its directory."""
        place = Site(site)
        broker = load(CloudConfig, place.cloud_toml).broker
        account, password = _credentials(user, password_file)
        if account is None and place.accounts:
            account, password = name, place.account(name)
        where = BrokerAddress(broker_host or broker.host, broker.port, broker.ca, account, password)
        folder = place.device(name, model, mode, where, fleet, polys_per_block=polys_per_block)
        answer(
            as_json,
            {"device": name, "folder": str(folder)},
            f"{folder}: copy it to the board; it holds the device's secrets",
        )

    @keys.command("list")
    def list_devices(site: SiteOption, as_json: JsonOption = False) -> None:
        """Devices, their epochs and key ids."""
        register = Site(site).register()
        rows = register.devices()
        register.close()
        if as_json:
            typer.echo(json.dumps({"devices": rows}))
            return
        table = Table("device", "epoch", "state", "fleet", "key id", "key id (secret modes)")
        for row in rows:
            table.add_row(
                *(str(row[k]) for k in ("device", "epoch", "state", "fleet", "key_id", "key_id_epoch"))
            )
        Console().print(table)

    @keys.command("certificate")
    def certificate(
        name: str, site: SiteOption,
        days: Annotated[int, typer.Option(min=1, help="how long it is good for")] = DAYS,
        as_json: JsonOption = False,
    ) -> None:  # fmt: skip
        """Give a device a fresh certificate for the broker; the former stays good until `keys retire`."""
        place = Site(site)
        register = place.register()
        epoch = register.current(name).epoch
        register.close()
        made = place.certificate(name, epoch, days)
        answer(
            as_json,
            {"device": name, "serial": f"{made.serial:x}", "expires": made.expires},
            f"{name}: certificate {made.serial:x} until {made.expires}; copy client.pem and client.key to the board",
        )

    @keys.command("retire")
    def retire(name: str, site: SiteOption, as_json: JsonOption = False) -> None:
        """End and destroy the draining epochs of a device, and revoke its former certificates."""
        ended, revoked = Site(site).revoke(name, former=True)
        text = f"{name}: {ended} former epochs ended, {revoked} certificates revoked{_next(revoked)}"
        answer(as_json, _ended(name, ended, revoked), text)

    @keys.command("revoke")
    def revoke(name: str, site: SiteOption, as_json: JsonOption = False) -> None:
        """End and destroy every key of a device, and revoke its certificates, at once."""
        ended, revoked = Site(site).revoke(name)
        text = f"{name}: {ended} epochs ended, {revoked} certificates revoked{_next(True)}"
        answer(as_json, _ended(name, ended, revoked), text)

    @keys.command("servers")
    def servers(
        site: SiteOption,
        days: Annotated[int, typer.Option(min=1, help="how long they are good for")] = DAYS,
        as_json: JsonOption = False,
    ) -> None:
        """Give cloud, helper and broker fresh certificates, before the old ones run out."""
        until = renew(site / "tls", days)
        text = (
            f"cloud, helper and broker have new certificates until {until}: hand them out, restart the broker"
        )
        answer(as_json, {"expires": until}, text)

    @keys.command("master")
    def master(site: SiteOption, as_json: JsonOption = False) -> None:
        """Change the helper's master: the keys stay, stored under a new one; the former opens nothing any more."""
        register = Site(site).register()
        count = register.change_master()
        register.close()
        answer(
            as_json,
            {"keys": count},
            f"{count} keys are under a new master; a running helper follows by itself",
        )


def _ended(device: str, epochs: int, certificates: int) -> dict[str, object]:
    return {"device": device, "epochs_ended": epochs, "certificates_revoked": certificates}


def _next(broker: object) -> str:
    return "; run `blindsight broker config` again and restart the broker" if broker else ""


def _told(as_json: bool, version: Version, what: str) -> None:
    found = {"name": version.name, "version": version.id.hex(), "plan_hash": version.plan_hash.hex()}
    answer(as_json, found, f"{version.name} {version.id.hex()[:16]} {what}")


def _models(models: typer.Typer) -> None:
    @models.command("add")
    def add(
        file: Annotated[str, typer.Argument(help="zoo name, M.bsm, or the folder of a split model")],
        site: SiteOption,
        as_json: JsonOption = False,
    ) -> None:
        """Install a model at the cloud and its plan at the helper, and activate it."""
        version = Site(site).add_model(find_model(file))
        _told(as_json, version, "is active")

    @models.command("activate")
    def activate(name: str, version: str, site: SiteOption, as_json: JsonOption = False) -> None:
        """Make an installed version the one in use."""
        found = Site(site).models.activate(name, version)
        _told(as_json, found, "is active")

    @models.command("rollback")
    def rollback(name: str, site: SiteOption, as_json: JsonOption = False) -> None:
        """Return to the version that was active before."""
        found = Site(site).models.roll_back(name)
        _told(as_json, found, "is active again")

    @models.command("list")
    def list_models(site: SiteOption, as_json: JsonOption = False) -> None:
        """Installed versions and which is active."""
        registry = Site(site).models
        rows = [
            {
                "name": name, "version": v.id.hex(), "plan_hash": v.plan_hash.hex(),
                "active": registry.active(name) == v, "serving": registry.serving()[name].get(v.plan_hash) == v,
            }
            for name in registry.names() for v in registry.versions(name)
        ]  # fmt: skip
        if as_json:
            typer.echo(json.dumps({"models": rows}))
            return
        table = Table("model", "version", "plan", "active", "serving")
        for row in rows:
            marks = ("yes" if row[k] else "" for k in ("active", "serving"))
            table.add_row(str(row["name"]), str(row["version"])[:16], str(row["plan_hash"])[:16], *marks)
        Console().print(table)
