"""`blindsight hw`: boards on the desk, and boards that are emulated."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from blindsight.hw import profiles
from blindsight.hw.inventory import Inventory
from blindsight.hw.link import Link, LinkError
from blindsight.hw.provision import ProvisionError

JsonOption = Annotated[bool, typer.Option("--json", help="one JSON object on standard output")]
PortArgument = Annotated[str, typer.Argument(help="/dev/ttyACM0, COM3 or rfc2217://host:port")]
InventoryOption = Annotated[Path, typer.Option(help="which board is which device", dir_okay=False)]


def register(app: typer.Typer) -> None:
    """Adds the group."""
    group = typer.Typer(
        help="Boards: what is known of them, flashing, provisioning, tests.", no_args_is_help=True
    )
    app.add_typer(group, name="hw")
    _known(group)
    _way_in(group)
    _board(group)
    _hil(group)
    _updates(group)
    _energy(group)


def _known(group: typer.Typer) -> None:
    @group.command("list")
    def list_boards(
        board: Annotated[str, typer.Argument(help="a board, for all that is known of it")] = "",
        as_json: JsonOption = False,
    ) -> None:
        """Boards, or every number of one board with its source."""
        found = [profiles.load_board(board)] if board else profiles.boards()
        if as_json:
            typer.echo(json.dumps({"boards": [profiles.as_json(b) for b in found]}))
        else:
            Console().print(_facts(found[0]) if board else _overview(found))

    @group.command("measure")
    def measure(
        target: Annotated[str, typer.Option(help="cortex-m4, cortex-m7, rv32imc, xtensa, aarch64, armv7")],
        as_json: JsonOption = False,
    ) -> None:
        """Count the device core's instructions, stack and RAM on an emulated core; known answers are checked."""
        from blindsight.hw import qemu

        got = qemu.measure(target)
        if as_json:
            typer.echo(json.dumps(got))
            return
        table = Table(
            "mode", "instructions", "stack B", "RAM B", "bytes out", title=f"{target}: 1,024 pixels"
        )
        for mode, row in got["modes"].items():
            table.add_row(
                mode, *(f"{row[k]:,}" for k in ("instructions", "stack_bytes", "ram_bytes", "bytes_out"))
            )
        Console().print(table)
        typer.echo(
            f"code {got['code_bytes']:,} B; {got['compiler']}; {got['flags']}; stands for {got['stands_for']}"
        )


def _board(group: typer.Typer) -> None:
    @group.command("deploy")
    def deploy(
        port: PortArgument,
        as_json: JsonOption = False,
    ) -> None:
        """Install the application: compiled for the board, only what differs, switched to in one step."""
        from blindsight.hw.deploy import deploy as run

        done = run(Link(port))
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
            Path | None, typer.Option(help="its password, on one line", dir_okay=False)
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


def _hil(group: typer.Typer) -> None:
    @group.command("hil")
    def hil(
        body: Annotated[
            str,
            typer.Option(
                help="unix, qemu-m4, qemu-m7, qemu-rv32, qemu-xtensa, serial:PORT, rfc2217://..., map"
            ),
        ] = "",
        hardware_map: Annotated[
            Path | None, typer.Option(help="YAML file of the bench", dir_okay=False)
        ] = None,
        metrics: Annotated[Path, typer.Option(help="JSONL file to append to", dir_okay=False)] = Path(
            "hil.jsonl"
        ),
        deploy: Annotated[bool, typer.Option("--deploy", help="real boards may be written to")] = False,
        plot: Annotated[
            Path | None, typer.Option(help="PNG: against the last run and the published figures")
        ] = None,
        as_json: JsonOption = False,
    ) -> None:
        """Run the device tests on boards, real or emulated: one table."""
        from blindsight.hw.hil import run as suite

        got = suite.run(body, hardware_map, metrics, deploy)
        why = suite.verdict(got["bodies"])
        if as_json:
            typer.echo(json.dumps(got))
        else:
            table = Table("body", "passed", "failed", "skipped", "quarantined")
            for name, row in got["bodies"].items():
                table.add_row(name, *(str(row[k]) for k in ("passed", "failed", "skipped", "quarantined")))
            Console().print(table)
            table = Table("body", "metric", "median", "spread", "against last run", "against published")
            for r in got["metrics"]:
                values = (f"{r['median']:g} {r['unit']}".removesuffix(" 1"), f"{r['spread']:g}")
                changes = (suite.change(r["median"], r[k]) for k in ("last", "model"))
                table.add_row(r["body"], r["metric"], *values, *changes)
            Console().print(table)
        if plot is not None:
            suite.plot(got["metrics"], plot)
        if why:
            raise suite.HilError(why)


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
    ) -> None:
        """Write MicroPython and verify it; NVS and file system, so the device's identity, are left alone."""
        from blindsight.hw.flash import flash as run

        addresses = run(profiles.load_board(board), port, firmware, new_layout)
        typer.echo(f"{port}: written and verified at {', '.join(map(hex, addresses))}")
        typer.echo(f"next: blindsight hw deploy {port}")


def _updates(group: typer.Typer) -> None:
    @group.command("update-key")
    def update_key(
        secret: Annotated[Path, typer.Argument(help="file to make; keep it off every server and board")],
        public: Annotated[Path, typer.Argument(help="file to make; `provision --update-key` takes it")],
    ) -> None:
        """Make the key pair that signs updates."""
        from blindsight.hw.update import new_key

        new_key(secret, public)
        typer.echo(f"{secret}: signs; {public}: for `blindsight hw provision --update-key`")

    @group.command("sign")
    def sign(
        out: Annotated[Path, typer.Argument(help="package to write", dir_okay=False)],
        key: Annotated[Path, typer.Option(help="secret of `update-key`", dir_okay=False)],
        counter: Annotated[int, typer.Option(min=1, help="above every one signed before")],
        board: Annotated[str, typer.Option(help="a board of `hw list`")] = "",
        arch: Annotated[str, typer.Option(help="or its .mpy architecture, e.g. x64")] = "",
    ) -> None:
        """Sign this checkout's application for boards of one architecture."""
        from blindsight.hw import update as updates

        target = arch or (profiles.load_board(board).mpy if board else "")
        if not target:
            raise updates.UpdateError("say for which board: --board NAME that runs MicroPython, or --arch")
        out.write_bytes(updates.sign(key, counter, target))
        typer.echo(f"{out}: {out.stat().st_size:,} bytes for {target}, counter {counter}")

    @group.command("update")
    def update(
        port: PortArgument,
        package: Annotated[Path, typer.Argument(help="file of `sign`", dir_okay=False)],
    ) -> None:
        """Bring a signed version to a board, which checks it, tries it and goes back unless it proves healthy."""
        from blindsight.hw import update as updates

        manifest = updates.update(Link(port), updates.read_package(package))
        typer.echo(f"{port}: version {manifest['version']} is accepted and on trial at the next start")
        typer.echo(f"next: blindsight hw monitor {port} --until healthy")


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
    return path.read_text().strip("\r\n")


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


def _energy(group: typer.Typer) -> None:
    @group.command("energy")
    def energy(
        trace: Annotated[Path, typer.Argument(help="CSV of a PPK2 or Joulescope", dir_okay=False)],
        volts: Annotated[
            float | None, typer.Option(min=0.1, help="supply, where the trace has no voltage")
        ] = None,
        begin: Annotated[float, typer.Option("--from", help="seconds after the first sample")] = 0,
        end: Annotated[float, typer.Option("--to", help="seconds after the first sample")] = math.inf,
        as_json: JsonOption = False,
    ) -> None:
        """Measured energy of a power meter's trace."""
        from blindsight.hw.energy import energy as run

        got = run(trace, volts, begin, end)
        if as_json:
            typer.echo(json.dumps(got))
            return
        typer.echo(
            f"{1000 * got['joules']:.4g} mJ in {got['seconds']:.4g} s, mean {got['mean_ma']:.4g} mA, peak {got['peak_ma']:.4g} mA"
        )


def _overview(found: list[profiles.Board]) -> Table:
    table = Table("board", "chip", "CPU", "MHz", "camera", "install")
    for b in found:
        clock = b.profile["compute.clock"].value
        table.add_row(b.id, b.profile.title, b.profile.cpu, f"{clock:g}", b.camera, b.install)
    return table


def _facts(board: profiles.Board) -> Table:
    title = board.title + (f" ({board.note})" if board.note else "")
    table = Table("number", "value", "kind", "conditions", "source", title=title)
    for name, q in board.profile.quantities.items():
        spread = f" ({q.low:g} to {q.high:g})" if q.low is not None and q.high is not None else ""
        table.add_row(name, f"{q.value:g} {q.unit}{spread}", q.label, q.conditions, q.source)
    return table
