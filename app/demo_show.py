"""`blindsight demo` on the terminal: progress, table, figure, JSON."""

from __future__ import annotations

import contextlib
import json
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from blindsight.app import web
from blindsight.app.demo import Demo, DemoError, Options, Report
from blindsight.app.figure import strip
from blindsight.app.options import JsonOption
from blindsight.wire.blocks import Mode


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command("demo")
    def demo(
        model: Annotated[str, typer.Option(help="zoo name, M.bsm, or the folder of a split model")] = "mnist",
        images: Annotated[int, typer.Option(min=1, max=1000, help="how many test pictures")] = 20,
        ingest: Annotated[str, typer.Option(help="rlwe, rlwe-sk or aes")] = "rlwe",
        broker: Annotated[
            str, typer.Option(help="embedded, mqtt://HOST:PORT or mqtts://HOST:PORT")
        ] = "embedded",
        broker_ca: Annotated[
            Path | None, typer.Option(help="authority of an mqtts:// broker", dir_okay=False)
        ] = None,
        devices: Annotated[int, typer.Option(min=1, max=32, help="how many boards")] = 2,
        micropython: Annotated[
            str, typer.Option(help="MicroPython unix port (default: the one beside Python)")
        ] = "",
        timeout: Annotated[float, typer.Option(help="give up after so many seconds")] = 170.0,
        figure: Annotated[Path, typer.Option(help="where the picture strip goes")] = Path(
            "blindsight-demo.png"
        ),
        keep: Annotated[Path | None, typer.Option(help="keep keys, settings and logs in this folder")] = None,
        pictures: Annotated[
            Path | None,
            typer.Option(help=".npz with x uint8 of the model's shape, y where known", dir_okay=False),
        ] = None,
        web: Annotated[bool, typer.Option("--web", help="a page on this machine to try it by hand")] = False,
        port: Annotated[int, typer.Option(min=0, max=65535, help="of the page; 0: a free one")] = 0,
        browse: Annotated[bool, typer.Option("--open", help="open the page in the browser")] = False,
        as_json: JsonOption = False,
    ) -> None:
        """Real firmware, a broker, two servers, real pictures: the whole mission on this machine."""
        Mode.named(ingest)
        options = Options(
            model, images, ingest, broker, micropython, devices, timeout, keep, broker_ca, pictures
        )  # fmt: skip
        if web:
            _serve(options, port, browse, as_json)
            return
        report = _run(options)
        drawn = _draw(report, figure)
        if as_json:
            print(json.dumps({**report.to_json(options), "figure": str(figure) if drawn else None}))
        else:
            _print(report, options, figure if drawn else None)
        if len(report.answered) < len(report.pictures):
            missing = len(report.pictures) - len(report.answered)
            why = next((p.failure for p in report.pictures if p.failure), f"no answer within {timeout:g} s")
            raise DemoError(
                f"{missing} of {len(report.pictures)} pictures were not answered ({why}); --keep DIR keeps the logs"
            )
        if not report.good:
            wrong = [p.number for p in report.pictures if p.got != p.expected]
            raise DemoError(f"labels differ from the float network's on pictures {wrong}")


def _serve(options: Options, port: int, browse: bool, as_json: bool) -> None:
    with contextlib.ExitStack() as stack:
        with _bars() as progress:
            server = stack.enter_context(web.serving(options, progress, port))
        if as_json:
            print(json.dumps({"address": server.address}), flush=True)
        else:
            Console().print(
                f"Open [bold]{server.address}[/]\nCtrl-C ends the page and everything behind it.",
                soft_wrap=True,
            )
        if browse:
            webbrowser.open(server.address)
        web.until_stopped()
        Console(stderr=True).print("ending broker, servers and devices")


def _run(options: Options) -> Report:
    with _bars() as progress:
        return Demo(options, progress).run()


@contextlib.contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    """Progress bars, one a phase, on a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=total)
            bars.update(tasks[phase], completed=min(done, total), total=total)

        yield progress


def _draw(report: Report, path: Path) -> bool:
    tap = report.tap
    if tap is None or tap.picture is None or tap.broker is None or tap.helper is None or tap.label is None:
        return False
    panels = [
        ("device: the picture", tap.picture),
        ("broker and cloud: ciphertext", tap.broker),
        ("helper: pixel + mask", tap.helper),
        (f"device again: {report.labels[tap.label]}", tap.picture),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    strip(panels, path)
    return True


def _print(report: Report, options: Options, figure: Path | None) -> None:
    console = Console()
    table = Table(
        "picture",
        "device",
        "true",
        "secure",
        "float",
        "latency",
        "bytes up",
        title=f"{options.model}, {options.ingest}",
    )
    for p in report.pictures:
        secure = "-" if p.got is None else report.labels[p.got]
        style = None if p.got == p.expected else "bold red"
        table.add_row(
            str(p.number), p.device, "" if p.true is None else report.labels[p.true], secure, report.labels[p.expected],
            "-" if p.got is None else f"{p.latency:.2f} s", f"{p.bytes_up:,}", style=style,
        )  # fmt: skip
    console.print(table)
    facts = report.to_json(options)
    latency = facts["latency_s"]
    right = "" if facts["correct"] is None else f", {facts['correct']} are right"
    console.print(
        f"{facts['answered']} of {facts['pictures']} answered, {facts['agree']} agree with the float network{right}. "
        f"Latency p50 {latency['p50']} s, p95 {latency['p95']} s; "
        f"heap of a board at most {report.heap:,} bytes; {report.seconds['total']:.0f} s in all."
    )
    if figure is not None:
        console.print(f"What each party saw of one picture: {figure}")
