"""`blindsight model`: which networks a set-up serves, on the whole of it or, once handed out, on one server's half.

A server's half takes what is that server's alone: the helper's no weights, neither both shares of a split model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from blindsight.app.identities import SiteOption
from blindsight.app.modelfile import CLOUD, HELPER, find_model
from blindsight.app.options import JsonOption, answer
from blindsight.app.site import Site, SiteError
from blindsight.cloud.models import Version
from blindsight.helper.plans import Plans


@dataclass(frozen=True)
class Installed:
    """What `model add` did: `version` is None on the helper's half, which knows plans alone."""

    name: str
    version: bytes | None
    plan_hash: bytes
    said: str


def install(place: Site, source: Path) -> Installed:
    """Installs a model at the servers whose halves are here; the cloud's half activates it too.

    Raises:
        SiteError: neither half is here, or both shares of a split model where one server's half is.
    """
    if place.whole and place.enrols:
        return _active(place.add_model(source), "is active")
    if not place.whole and not place.enrols:
        raise SiteError(
            f"{place.folder} holds neither server's half: run this on the cloud's machine and the helper's"
        )
    mine, theirs = (CLOUD, HELPER) if place.whole else (HELPER, CLOUD)
    if source.is_dir():
        raise SiteError(
            f"{source} holds both shares of a model, which are not to meet here: bring this machine the *{mine} alone, "
            f"and the other server's the *{theirs}"
        )
    if place.whole:
        version = place.models.add(source)
        place.models.activate(version.name, version.id.hex())
        brings = f"*{HELPER}" if source.name.endswith(CLOUD) else f"{version.name}.plan.json"
        return _active(version, f"is active; the helper's machine needs `blindsight model add {brings}` too")
    plans = Plans(place.helper().plans)
    plan = plans.add_share(source) if source.suffix == ".share" else plans.add(source)
    said = f"{plan.name}, plan {plan.hash.hex()[:16]}: the helper serves it once the cloud does"
    return Installed(plan.name, None, plan.hash, said)


def _active(version: Version, what: str) -> Installed:
    said = f"{version.name} {version.id.hex()[:16]} {what}"
    return Installed(version.name, version.id, version.plan_hash, said)


def _told(as_json: bool, done: Installed) -> None:
    version = done.version.hex() if done.version is not None else None
    found = {"name": done.name, "version": version, "plan_hash": done.plan_hash.hex()}
    answer(as_json, found, done.said)


def register(app: typer.Typer) -> None:
    """Adds the group."""
    models = typer.Typer(help="Models a set-up serves, by name.", no_args_is_help=True)
    app.add_typer(models, name="model")

    @models.command("add")
    def add(
        file: Annotated[
            str,
            typer.Argument(
                help="zoo name, M.bsm, or the folder of a split model; on the helper's half M.plan.json or its share"
            ),
        ],
        site: SiteOption,
        as_json: JsonOption = False,
    ) -> None:
        """Install a model at the cloud and its plan at the helper, and activate it; on one server's half, its part."""
        _told(as_json, install(Site(site), find_model(file)))

    @models.command("activate")
    def activate(name: str, version: str, site: SiteOption, as_json: JsonOption = False) -> None:
        """Make an installed version the one in use."""
        _told(as_json, _active(Site(site).models.activate(name, version), "is active"))

    @models.command("rollback")
    def rollback(name: str, site: SiteOption, as_json: JsonOption = False) -> None:
        """Return to the version that was active before."""
        _told(as_json, _active(Site(site).models.roll_back(name), "is active again"))

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
