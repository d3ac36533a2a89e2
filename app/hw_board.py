"""`blindsight hw`, the commands that talk to one board."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from blindsight.app.options import JsonOption
from blindsight.hw import profiles
from blindsight.hw.inventory import Inventory
from blindsight.hw.link import Link, LinkError
from blindsight.hw.provision import ProvisionError

PortArgument = Annotated[str, typer.Argument(help="/dev/ttyACM0, COM3 or rfc2217://host:port")]
InventoryOption = Annotated[Path, typer.Option(help="which board is which device", dir_okay=False)]


def add_to(group: typer.Typer) -> None:
    """Adds doctor, flash, deploy, provision, selftest, monitor."""
    _way_in(group)
    _board(group)


def _way_in(group: typer.Typer) -> None:
    @group.command("doctor")
    def doctor(as_json: JsonOption = False) -> None:
        """Serial ports, permissions and tools; every problem with its fix."""
        from blindsight.hw.doctor import doctor as run

        found = run()
        if as_json:
            typer.echo(json.dumps(found))
            return
        ports = Table("port", "kind", "usable")
        for row in found["ports"]:
            ports.add_row(row["port"], row["kind"], "no" if row["fix"] else "yes")
        tools = Table("tool", "for", "version")
        for row in found["tools"]:
            tools.add_row(
                row["tool"], row["needed_for"], (row["version"] or "found") if row["path"] else "missing"
            )
        for table in (ports, tools):
            Console().print(table)
        for line in found["advice"] or ["nothing to mend"]:
            typer.echo(line)

    @group.command("flash")
    def flash(
        port: PortArgument,
        board: Annotated[str, typer.Option(help="a board of `hw list`")],
        firmware: Annotated[Path, typer.Option(help="whole MicroPython image (.bin)", dir_okay=False)],
        new_layout: Annotated[
            bool,
            typer.Option("--new-layout", help="the image may move the file system: its identity is lost"),
        ] = False,
        stub: Annotated[
            bool,
            typer.Option("--stub/--no-stub", help="esptool's flasher stub; without it slower, ROM alone"),
        ] = True,
        as_json: JsonOption = False,
    ) -> None:
        """Write MicroPython and verify it; NVS and file system, so the device's identity, are left alone."""
        from blindsight.hw.flash import flash as run

        addresses = run(profiles.load_board(board), port, firmware, new_layout, stub)
        if as_json:
            typer.echo(json.dumps({"written": addresses}))
            return
        typer.echo(f"{port}: written and verified at {', '.join(map(hex, addresses))}")
        typer.echo(f"next: blindsight hw deploy {port}")


def _board(group: typer.Typer) -> None:
    @group.command("deploy")
    def deploy(
        port: PortArgument,
        to: Annotated[
            str, typer.Option(help="files (two slots, switched in one step) or romfs (code runs from flash)")
        ] = "files",
        as_json: JsonOption = False,
    ) -> None:
        """Install the application: compiled for the board, only what differs, switched to in one step."""
        from blindsight.hw.deploy import deploy as into_files
        from blindsight.hw.romfs import deploy_romfs

        ways = {"files": into_files, "romfs": deploy_romfs}
        if to not in ways:
            raise LinkError("--to is files or romfs; for a frozen build see docs/boards.md")
        done = ways[to](Link(port))
        if as_json:
            typer.echo(json.dumps(asdict(done)))
            return
        what = f"sent {done.sent} files, {done.bytes:,} bytes" if done.sent else "nothing to send"
        typer.echo(f"{port}: {what}; version {done.version} ({done.arch}) in slot {done.slot}")
        typer.echo(f"next: blindsight hw provision {port} --from SITE/devices/NAME")

    @group.command("provision")
    def provision(
        port: PortArgument,
        folder: Annotated[
            Path, typer.Option("--from", help="device directory of `blindsight keys device`", file_okay=False)
        ],
        inventory: InventoryOption = Path("inventory.json"),
        wifi: Annotated[str, typer.Option(help="network to join")] = "",
        wifi_password_file: Annotated[
            Path | None, typer.Option(help="its password, on one line; mode 0600", dir_okay=False)
        ] = None,
        camera: Annotated[str, typer.Option(help="camera settings as a JSON object")] = "",
        interval_s: Annotated[int | None, typer.Option(min=0, help="seconds between pictures")] = None,
        update_key: Annotated[
            Path | None, typer.Option(help="public key whose updates the board accepts", dir_okay=False)
        ] = None,
        replace: Annotated[
            bool, typer.Option("--replace", help="let board or device id change hands")
        ] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be written")] = False,
        as_json: JsonOption = False,
    ) -> None:
        """Give a board its identity, keys, broker and Wi-Fi; writes its row of the inventory. Twice is once."""
        from blindsight.hw.provision import provision as run

        settings: dict[str, Any] = {} if interval_s is None else {"interval_s": interval_s}
        if camera:
            settings["camera"] = _object(camera)
        network = {"ssid": wifi, "password": _line(wifi_password_file)} if wifi else None
        key = update_key.read_bytes() if update_key else None
        done = run(Link(port), folder, Inventory(inventory), network, dry_run, replace, key, settings)
        if as_json:
            typer.echo(json.dumps(asdict(done)))
            return
        verb = "would write" if dry_run else "wrote"
        typer.echo(
            f"{done.device}: {f'{verb} ' + ', '.join(done.changed) if done.changed else 'nothing to change'}"
        )
        typer.echo(f"public key: {done.fingerprint}")
        typer.echo("compare it with what the helper's operator reads out (sha256 of pk.bin)")

    @group.command("selftest")
    def selftest(port: PortArgument, as_json: JsonOption = False) -> None:
        """Known answers on the board, time and heap of every stage, state of the random source."""
        from blindsight.hw.selftest import selftest as run

        got = run(Link(port))
        if as_json:
            typer.echo(json.dumps(got))
        else:
            _show_selftest(got)
        if not got["passed"]:
            raise LinkError(
                f"{port}: wrong answers in {', '.join(got['wrong']) or 'the random source'}: deploy again; if it stays, use another board"
            )

    @group.command("monitor")
    def monitor(
        port: PortArgument,
        restart: Annotated[bool, typer.Option(help="restart the application first")] = True,
        seconds: Annotated[float | None, typer.Option(help="stop after so long")] = None,
        until: Annotated[str, typer.Option(help="stop at this event, e.g. result or done")] = "",
    ) -> None:
        """Follow a board's events, one JSON object a line; what is no event goes to standard error."""
        from blindsight.hw.monitor import events

        for event in events(port, restart, seconds):
            if isinstance(event, str):
                typer.echo(event, err=True)
                continue
            typer.echo(json.dumps(event))
            if event["event"] == until:
                return
        if until:
            raise LinkError(
                f"{port}: no {until} within {seconds:g} s: read the events above; `blindsight hw selftest {port}`"
            )


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ProvisionError('--camera is a JSON object such as {"kind": "esp32", "frame_size": "QVGA"}')
    return found


def _line(path: Path | None) -> str:
    if path is None:
        raise ProvisionError("--wifi goes with --wifi-password-file FILE (an empty file for an open network)")
    from blindsight.service.secretfile import read_text

    return read_text(path).strip("\r\n") if path.stat().st_size else ""


def _show_selftest(got: dict[str, Any]) -> None:
    table = Table("stage", "ms", "heap B", title=f"version {got['version']}, {got['free']:,} B free")
    for row in got["stages"]:
        table.add_row(row["stage"], f"{row['us'] / 1000:.1f}", f"{row['heap']:,}")
    Console().print(table)
    for mode in got["results"]:
        verdict = "WRONG" if mode in got["wrong"] else "right"
        typer.echo(f"{mode}: {verdict} ({got['cores'].get(mode, '-')})")
    state = "trusted now" if got["random"]["trusted_now"] else "not trusted until the radio is on"
    typer.echo(f"random source: {state}; provisioned: {'yes' if got['provisioned'] else 'no'}")
