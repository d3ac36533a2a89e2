"""`blindsight broker`: the configuration a broker needs so that a device can do no more than its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from blindsight.app.options import JsonOption, answer
from blindsight.app.site import CLOUD_USER, Site, SiteError
from blindsight.offline.cursor import write_durably
from blindsight.wire import keys, topics

KINDS = ("mosquitto",)
VERSIONS = ("2.0", "2.1")
PLUGINS = Path("/usr/lib")


def mosquitto_conf(
    folder: Path, port: int, identity: str, tls: Path | None, version: str = "2.0", plugins: Path = PLUGINS
) -> str:
    """mosquitto.conf for 2.0 or 2.1 (docs/brokers.md). identity: `password` or `certificate` (mutual TLS, the
    common name is the user name); `tls`: folder of ca.pem, broker.pem, broker.key and, for certificates, `clients`;
    `plugins`: where 2.1 has its own.
    """
    files = {"acl_file": folder / "acl.conf"}
    if identity == "password":
        files["password_file"] = folder / "passwords"
    lines = [
        "# Devices may write under their own up/ and status, and read their own down/ and cmd/ (acl.conf); the cloud the rest.",
        "allow_anonymous false",
    ]
    for option, path in files.items():
        if version == "2.1":
            lines += [f"global_plugin {plugins}/mosquitto_{option}.so", f"plugin_opt_{option} {path}"]
        else:
            lines.append(f"{option} {path}")
    lines += [
        "persistence true",
        f"persistence_location {folder / 'data'}/",
        "autosave_interval 30",
        "max_inflight_messages 100",
        "max_queued_messages 10000",
        "max_packet_size 70000",
        "persistent_client_expiration 14d",
        f"listener {port}" + ("" if tls else " 127.0.0.1"),
    ]
    if tls is not None:
        lines += [
            f"certfile {tls / 'broker.pem'}",
            f"keyfile {tls / 'broker.key'}",
            "tls_version tlsv1.2",
        ]
        if identity == "certificate":
            lines += [
                f"cafile {tls / 'clients' / 'ca.pem'}",
                f"crlfile {tls / 'clients' / 'crl.pem'}",
                "require_certificate true",
                "use_identity_as_username true",
            ]
        else:
            lines.append(f"cafile {tls / 'ca.pem'}")
    return "\n".join(lines) + "\n"


def mosquitto_acl(devices: list[str], cloud_user: str) -> str:
    """acl.conf: user names are device ids; the shard is part of the topic, so each device has its own
    lines.
    """
    out = [f"user {cloud_user}"]
    out += [f"topic read {topic}" for topic in topics.subscriptions()]
    out += [f"topic write {topics.ROOT}/+/+/down/+", f"topic write {topics.ROOT}/+/+/cmd/+"]
    for device in devices:
        if device == cloud_user:
            raise SiteError(f"a device is called {cloud_user!r} like the cloud's account: revoke it")
        base = topics.base(keys.check_device(device))
        out += ["", f"user {device}", f"topic write {base}/up/+/+", f"topic write {base}/status"]
        out += [f"topic read {base}/down/+", f"topic read {base}/cmd/+"]
    return "\n".join(out) + "\n"


def mosquitto_passwords(file: Path, accounts: dict[str, str]) -> str:
    """Writes Mosquitto's password file, hashed by its own tool; returns a line for the user."""
    write_durably(file, "".join(f"{user}:{password}\n" for user, password in accounts.items()).encode())
    tool = shutil.which("mosquitto_passwd")
    if tool is None:
        return f"Passwords are in the clear: run `mosquitto_passwd -U {file}` where Mosquitto is installed."
    subprocess.run([tool, "-U", str(file)], check=True, capture_output=True)
    file.chmod(0o600)
    return f"{len(accounts)} accounts in {file}."


def register(app: typer.Typer) -> None:
    """Adds the group."""
    group = typer.Typer(
        help="Brokers: configuration, and the embedded one of the demo.", no_args_is_help=True
    )
    app.add_typer(group, name="broker")

    @group.command("config")
    def config(
        site: Annotated[Path, typer.Option("--site", help="folder of the set-up", file_okay=False)],
        out: Annotated[Path, typer.Option("--out", help="folder to write", file_okay=False)],
        kind: Annotated[str, typer.Option(help="mosquitto")] = "mosquitto",
        port: Annotated[int, typer.Option(help="port to listen on")] = 8883,
        identity: Annotated[
            str, typer.Option(help="password or certificate (mutual TLS); empty: as the site was made")
        ] = "",
        version: Annotated[str, typer.Option("--mosquitto", help="its version, 2.0 or 2.1")] = VERSIONS[0],
        plugins: Annotated[Path, typer.Option(help="where Mosquitto 2.1 has its plugins")] = PLUGINS,
        cloud_user: Annotated[str, typer.Option(help="the cloud's user name")] = CLOUD_USER,
        plain: Annotated[bool, typer.Option(help="no TLS; loopback only")] = False,
        as_json: JsonOption = False,
    ) -> None:
        """Write mosquitto.conf and acl.conf for the devices that are enrolled now; run it again after
        enrolling.
        """
        place = Site(site)
        identity = identity or ("certificate" if place.clients.ready and not plain else "password")
        if kind not in KINDS or version not in VERSIONS or identity not in ("password", "certificate"):
            raise SiteError(
                f"--kind is one of {', '.join(KINDS)}, --mosquitto of {', '.join(VERSIONS)}, --identity password or certificate"
            )
        if identity == "certificate" and not place.clients.ready:
            raise SiteError(
                "this site has no authority for clients: `blindsight keys init --certificates` makes one"
            )
        if plain and identity == "certificate":
            raise SiteError("--identity certificate needs TLS: leave --plain away")
        devices = place.admitted()
        (out / "data").mkdir(parents=True, exist_ok=True)
        tls = None if plain else (site / "tls").resolve()
        (out / "mosquitto.conf").write_text(
            mosquitto_conf(out.resolve(), port, identity, tls, version, plugins)
        )
        (out / "acl.conf").write_text(mosquitto_acl(devices, cloud_user))
        if identity == "certificate":
            place.clients.renew_list()
            then = "Each client shows a certificate whose common name is its user name."
        elif place.accounts:
            wanted = {u: p for u, p in place.accounts.items() if u == cloud_user or u in devices}
            then = mosquitto_passwords(out / "passwords", wanted)
        else:
            then = f"Add users with `mosquitto_passwd {out / 'passwords'} USER`, one for {cloud_user} and one a device id."
        conf = str(out / "mosquitto.conf")
        answer(
            as_json,
            {"config": conf, "devices": devices, "identity": identity, "next": then},
            f"{conf}: {len(devices)} devices. {then}",
        )

    @group.command("run")
    def run(port: Annotated[int, typer.Option(help="port on loopback")] = 1883) -> None:
        """The embedded broker, in the foreground: for trials on one machine, no TLS, nothing kept."""
        from blindsight.app.embedded import serve

        serve(port)
