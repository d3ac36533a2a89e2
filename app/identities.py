"""`blindsight keys certificate`, `account`, `servers`: what devices and servers show. They run where the authorities'
keys and the broker's accounts are, which is neither server's machine: the helper with a device's certificate or
account could read its answers, with the cloud's every upload.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blindsight.app import devicefolder
from blindsight.app.certificates import DAYS, renew
from blindsight.app.options import JsonOption, answer
from blindsight.app.site import Site, SiteError
from blindsight.service.secretfile import read_text

SiteOption = Annotated[Path, typer.Option("--site", help="folder of the set-up", file_okay=False)]
UserOption = Annotated[str, typer.Option(help="the device's account at a broker that has one for it")]
PasswordOption = Annotated[
    Path | None, typer.Option(help="its password, on one line, mode 0600", dir_okay=False)
]
DaysOption = Annotated[int, typer.Option(min=1, help="how long it is good for")]


def add_to(keys: typer.Typer) -> None:
    """Adds the commands to the group."""

    @keys.command("certificate")
    def certificate(
        name: str, site: SiteOption, days: DaysOption = DAYS, as_json: JsonOption = False
    ) -> None:
        """Give a device a fresh certificate for the broker; the former stays good until `keys retire`."""
        place = Site(site)
        made = place.certificate(name, place.epoch(name), days)
        answer(
            as_json,
            {"device": name, "serial": f"{made.serial:x}", "expires": made.expires},
            f"{name}: certificate {made.serial:x} until {made.expires}; copy client.pem and client.key to the board",
        )

    @keys.command("account")
    def account(
        name: str, site: SiteOption, user: UserOption = "", password_file: PasswordOption = None,
        as_json: JsonOption = False,
    ) -> None:  # fmt: skip
        """Write a device's broker account into its folder, where `keys device` on the helper's machine could not."""
        place = Site(site)
        folder = place.device_folder(name)
        found, password = credentials(user, password_file)
        if found is None or password is None:
            devicefolder.read(folder, name)  # before an account is drawn
            if not place.accounts:
                raise SiteError(f"{site} makes no accounts: give one with --user and --password-file")
            found, password = name, place.account(name)
        devicefolder.give_account(folder, name, found, password)
        text = f"{folder}: has its account {found!r}; run `blindsight broker config` again"
        answer(as_json, {"device": name, "folder": str(folder), "user": found}, text)

    @keys.command("servers")
    def servers(site: SiteOption, days: DaysOption = DAYS, as_json: JsonOption = False) -> None:
        """Give cloud, helper and broker fresh certificates, before the old ones run out."""
        until = renew(site / "tls", days)
        text = (
            f"cloud, helper and broker have new certificates until {until}: hand them out, restart the broker"
        )
        answer(as_json, {"expires": until}, text)


def credentials(user: str, password_file: Path | None) -> tuple[str | None, str | None]:
    """The account that options name, or None twice."""
    if not user:
        return None, None
    if password_file is None:
        raise SiteError("--user goes with --password-file FILE")
    return user, read_text(password_file).strip()
