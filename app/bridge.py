"""`blindsight bridge`: pictures from the owner's broker, answers back to it; for Home Assistant and Node-RED."""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from blindsight.client import Broker, Client
from blindsight.client.bridge import Bridge, Options
from blindsight.service.config import load
from blindsight.service.secretfile import read_passphrase


@dataclass(frozen=True)
class Second:
    """The owner's own broker; never the cloud's."""

    host: str
    port: int = 1883
    ca: Path | None = None
    user: str | None = None
    password_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def broker(self) -> Broker:
        """As the client takes it; the password is read from its file (mode 0600)."""
        password = None if self.password_file is None else read_passphrase(self.password_file).decode()
        return Broker(self.host, self.port, self.ca, self.user, password, self.certificate, self.key)


@dataclass(frozen=True)
class BridgeConfig:
    """`identity`: a device directory (`blindsight keys device`)."""

    identity: Path
    second_broker: Second
    discovery: bool = False
    prefix: str = "homeassistant"
    timeout_s: float = 120.0
    waiting: int = field(default=16)


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command("bridge")
    def bridge(
        config: Annotated[Path, typer.Option("--config", help="the bridge's TOML file", metavar="F.toml")],
    ) -> None:
        """Classify pictures that come over a broker of your own, and answer there."""
        settings = load(BridgeConfig, config)
        options = Options(settings.discovery, settings.prefix, settings.timeout_s, settings.waiting)
        try:
            asyncio.run(_until_stopped(settings.identity, settings.second_broker.broker(), options))
        except asyncio.CancelledError:
            raise typer.Exit(0) from None


async def _until_stopped(identity: Path, second: Broker, options: Options) -> None:
    ready = asyncio.Event()
    task = asyncio.ensure_future(Bridge(Client(identity), second, options).run(ready))
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, task.cancel)
    told = asyncio.ensure_future(ready.wait())
    await asyncio.wait((task, told), return_when=asyncio.FIRST_COMPLETED)
    if ready.is_set():
        print("blindsight bridge: ready", file=sys.stderr, flush=True)
    told.cancel()
    await task
