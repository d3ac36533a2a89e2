"""`blindsight send`: classify pictures from this computer, over the broker, as a device would."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from blindsight.app.images import load_images
from blindsight.app.options import JsonOption
from blindsight.client import Answer, Broker, Client, ClientError
from blindsight.client.identity import load
from blindsight.client.picture import load as load_picture

FileOption = Annotated[Path | None, typer.Option(dir_okay=False)]


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command("send")
    def send(
        pictures: Annotated[
            list[Path], typer.Argument(help="picture files, or .npz with `x`", metavar="PICTURE.png|X.npz...")
        ],
        identity: Annotated[
            Path,
            typer.Option(help="the sender's directory (`blindsight keys device`)", file_okay=False),
        ],
        count: Annotated[int | None, typer.Option(min=1, help="the first so many of an .npz")] = None,
        broker: Annotated[str, typer.Option(help="HOST or HOST:PORT where it is not the directory's")] = "",
        ca: FileOption = None,
        user: Annotated[str, typer.Option(help="account at the broker")] = "",
        password_file: FileOption = None,
        certificate: FileOption = None,
        key: FileOption = None,
        timeout: Annotated[float, typer.Option(min=0.1, help="seconds to wait for each answer")] = 120,
        at_once: Annotated[int, typer.Option(min=1, max=64, help="pictures on their way together")] = 8,
        as_json: JsonOption = False,
    ) -> None:
        """Encrypt pictures here, send them to the cloud's broker, print what they show."""
        who, own = load(identity)
        where = _broker(own, broker, ca, user, password_file, certificate, key)
        found, labels = _load(pictures, count, who.shape)
        client = Client(identity, where, at_once=at_once)
        outcomes = asyncio.run(_send(client, [p for _, p in found], timeout))
        report = _report([name for name, _ in found], outcomes, labels)
        if as_json:
            typer.echo(json.dumps(report))
        else:
            _show(report)
        if report["answered"] < report["count"]:
            raise typer.Exit(1)


def _broker(
    own: Broker, address: str, ca: Path | None, user: str, password_file: Path | None, certificate: Path | None,
    key: Path | None,
) -> Broker:  # fmt: skip
    changes: dict[str, Any] = {}
    if address:
        host, _, port = address.rpartition(":") if address.count(":") == 1 else (address, "", "")
        if port and not port.isdecimal():
            raise ClientError(f"--broker {address}: the port is a number")
        changes |= {"host": host, "port": int(port) if port else own.port}
    if user:
        changes["user"] = user
    if password_file is not None:
        from blindsight.service.secretfile import read_passphrase

        changes["password"] = read_passphrase(password_file).decode()
    files = {"ca": ca, "certificate": certificate, "key": key}
    changes |= {name: path for name, path in files.items() if path is not None}
    return replace(own, **changes)


def _load(
    files: list[Path], count: int | None, shape: tuple[int, int, int]
) -> tuple[list[tuple[str, np.ndarray]], list[int | None]]:
    """(name, pixels) and the true class, where known, of every picture."""
    out: list[tuple[str, np.ndarray]] = []
    labels: list[int | None] = []
    for file in files:
        if file.suffix != ".npz":
            out.append((file.name, load_picture(file, shape)))
            labels.append(None)
            continue
        x, y = load_images(file, count)
        out += [(f"{file.name}[{i}]", picture) for i, picture in enumerate(x)]
        labels += [None] * len(x) if y is None else [int(v) for v in y]
    return out, labels


async def _send(client: Client, pictures: list[np.ndarray], timeout: float) -> list[Answer | ClientError]:
    async with client:
        done = 0

        async def one(picture: np.ndarray) -> Answer | ClientError:
            nonlocal done
            try:
                return await client.classify(picture, timeout)
            except ClientError as error:
                return error
            finally:
                done += 1
                if sys.stderr.isatty():
                    print(f"\r{done}/{len(pictures)} pictures", end="", file=sys.stderr, flush=True)

        out = await asyncio.gather(*(one(p) for p in pictures))
        if sys.stderr.isatty():
            print(file=sys.stderr)
        return list(out)


def _report(
    names: list[str], outcomes: list[Answer | ClientError], labels: list[int | None]
) -> dict[str, Any]:
    results = []
    for name, outcome in zip(names, outcomes, strict=True):
        body = outcome.to_json() if isinstance(outcome, Answer) else {"error": str(outcome)}
        results.append({"picture": name, **body})
    answered = [o for o in outcomes if isinstance(o, Answer)]
    known = [
        o.index == y for o, y in zip(outcomes, labels, strict=True) if isinstance(o, Answer) and y is not None
    ]
    return {
        "count": len(outcomes), "answered": len(answered),
        "top1": [o.index if isinstance(o, Answer) else None for o in outcomes],
        "accuracy": sum(known) / len(known) if known else None, "results": results,
    }  # fmt: skip


def _show(report: dict[str, Any]) -> None:
    for row in report["results"]:
        if "error" in row:
            print(f"{row['picture']}: {row['error']}", file=sys.stderr)
        else:
            shown = f"{row['index']} {row['label']}".rstrip()
            typer.echo(f"{row['picture']}: {shown} ({row['latency_s']:.1f} s, {row['bytes_up']} bytes)")
