"""`blindsight keys`: everything secret of a set-up."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from blindsight.app import identities, seal
from blindsight.app.certificates import DAYS
from blindsight.app.identities import PasswordOption, SiteOption, UserOption, credentials
from blindsight.app.modelfile import find_model
from blindsight.app.options import JsonOption, answer
from blindsight.app.site import CLOUD_USER, BrokerAddress, Site, SiteError

BrokerOnlyOption = Annotated[
    bool,
    typer.Option("--broker-only", help="certificates and account alone, where the helper's keys are not"),
]


def register(app: typer.Typer) -> None:
    """Adds the group."""
    keys = typer.Typer(help="Master secret, certificates, devices.", no_args_is_help=True)
    app.add_typer(keys, name="keys")
    _set_up(keys)
    _devices(keys)
    identities.add_to(keys)
    seal.add_to(keys)


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
        place.check_new()
        ca = site / "tls" / "ca.pem" if broker_ca == "own" else Path(broker_ca) if broker_ca else None
        if ca is not None and broker_ca != "own" and not ca.is_file():
            raise SiteError(f"--broker-ca {broker_ca}: no such file (`own` is the authority of this set-up)")
        if certificates and ca is None:
            raise SiteError("--certificates goes with --broker-ca: certificates are shown over TLS")
        files = [find_model(wanted) for wanted in model or []]  # before anything is made
        name, password = credentials(user, password_file)
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


def _devices(keys: typer.Typer) -> None:
    @keys.command("device")
    def device(
        name: Annotated[str, typer.Argument(help="device id, a-z 0-9 -")],
        site: SiteOption,
        model: Annotated[
            str, typer.Option(help="name of an active model; on the helper's machine of a plan")
        ],
        mode: Annotated[str, typer.Option(help="rlwe, rlwe-sk or aes")] = "rlwe",
        fleet: Annotated[
            bool, typer.Option(help="under the fleet-wide RLWE key: any device of it is trusted with all")
        ] = False,
        polys_per_block: Annotated[int, typer.Option(min=1, max=16, help="1,024-pixel pieces a message")] = 4,
        broker_host: Annotated[
            str, typer.Option(help="the broker as the device sees it (default: the cloud's)")
        ] = "",
        user: UserOption = "",
        password_file: PasswordOption = None,
        plan: Annotated[
            str, typer.Option(help="beginning of a plan's hash, where the helper holds several of the model")
        ] = "",
        as_json: JsonOption = False,
    ) -> None:
        """Enrol a device, or begin its next epoch (the former key drains); writes its directory. Runs on the helper's
        machine once the set-up is handed out.
        """
        place = Site(site)
        where = place.broker(name)
        account, password = credentials(user, password_file)
        if account is not None and not place.whole:
            raise SiteError(
                "the helper's machine holds no broker account: leave --user away, and give it with `blindsight keys "
                f"account {name}` where the folder is completed"
            )
        if account is None and place.accounts:
            account, password = name, place.account(name)
        if account is not None:
            where = replace(where, user=account, password=password)
        if broker_host:
            where = replace(where, host=broker_host)
        folder = place.device(name, model, mode, where, fleet, plan, polys_per_block=polys_per_block)
        then = _complete(place, name, where)
        answer(
            as_json,
            {"device": name, "folder": str(folder), "store": place.store, "next": then},
            f"{folder}: copy it to the board; it holds the device's secrets\n{name} is enrolled in {place.store}"
            + (f"\n{then}" if then else ""),
        )

    @keys.command("list")
    def list_devices(site: SiteOption, as_json: JsonOption = False) -> None:
        """Devices, their epochs and key ids."""
        place = Site(site)
        register = place.register()
        rows = register.devices()
        register.close()
        if as_json:
            typer.echo(json.dumps({"devices": rows, "store": place.store}))
            return
        typer.echo(place.store)
        table = Table("device", "epoch", "state", "fleet", "key id", "key id (secret modes)")
        for row in rows:
            table.add_row(
                *(str(row[k]) for k in ("device", "epoch", "state", "fleet", "key_id", "key_id_epoch"))
            )
        Console().print(table)

    @keys.command("retire")
    def retire(
        name: str, site: SiteOption, broker_only: BrokerOnlyOption = False, as_json: JsonOption = False
    ) -> None:
        """End and destroy the draining epochs of a device, and revoke its former certificates."""
        _end(Site(site), name, "retire", broker_only, as_json)

    @keys.command("revoke")
    def revoke(
        name: str, site: SiteOption, broker_only: BrokerOnlyOption = False, as_json: JsonOption = False
    ) -> None:
        """End and destroy every key of a device, and revoke its certificates, at once."""
        _end(Site(site), name, "revoke", broker_only, as_json)

    @keys.command("master")
    def master(site: SiteOption, as_json: JsonOption = False) -> None:
        """Change the helper's master: the keys stay, stored under a new one; the former opens nothing any more."""
        place = Site(site)
        register = place.register()
        count = register.change_master()
        register.close()
        answer(
            as_json,
            {"keys": count, "store": place.store},
            f"{count} keys in {place.store} are under a new master; a running helper of this store follows by itself",
        )


def _complete(place: Site, name: str, where: BrokerAddress) -> str:
    """What the folder still lacks: what the broker asks for is made where its authority is, not beside the keys."""
    lacks = [
        f"`blindsight keys {what} {name}`"
        for what, missing in (
            ("certificate", where.certificates and not place.clients.ready),
            ("account", where.user is not None and where.password is None),
        )
        if missing
    ]
    if place.whole or not lacks:
        return ""
    return f"first take it to devices/ of the set-up machine and run {', '.join(lacks)} there, then `blindsight broker config`"


def _end(place: Site, name: str, what: str, broker_only: bool, as_json: bool) -> None:
    """`retire` or `revoke`, and what it has not done: a copy of the register, or its absence, must not look like success."""
    if place.admits and not (broker_only or place.enrols):
        raise SiteError(
            f"{place.folder} does not hold the helper's keys: run this on the helper's machine; certificates and account "
            "alone end here with --broker-only"
        )
    former, store = what == "retire", None if broker_only else place.store
    kind = "former " if former else ""
    if store is None:
        ended, revoked = 0, place.revoke_at_broker(name, former)
        text = f"{revoked} {kind}certificates{'' if former else ' and any account'} revoked here"
        rest = f"its keys live until `blindsight keys {what} {name}` on the helper's machine"
    else:
        ended, revoked = place.revoke(name, former)
        text = f"{ended} {kind}epochs ended in {store}, {revoked} certificates revoked"
        shared = store.startswith("postgresql://")
        rest = (
            "every helper of this store follows"
            if shared
            else "a helper elsewhere has a store of its own: run it there"
        )
    if store is not None and not place.whole and not place.admits:
        ends = "former certificates" if former else "certificates and account"
        rest = f"{ends} end with `blindsight keys {what} {name} --broker-only` on the set-up machine"
    elif revoked or not former:
        text += "; run `blindsight broker config` again and restart the broker"
    found = {"device": name, "epochs_ended": ended, "certificates_revoked": revoked, "store": store}
    answer(as_json, found, f"{name}: {text}\n{rest}")
