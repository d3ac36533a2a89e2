"""How a service runs as a process: settings from a TOML file, logs on standard error, until SIGTERM."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from blindsight.channel import ChannelError
from blindsight.nn.plan import PlanError
from blindsight.service import logs, stop
from blindsight.service.config import ConfigError, load
from blindsight.service.database import StoreFault
from blindsight.service.secretfile import SecretError

EXPECTED: tuple[type[Exception], ...] = (
    ConfigError, PlanError, ChannelError, StoreFault, SecretError, OSError,
)  # fmt: skip


SET_HELP = "a setting in place of the file's, such as workers.prefix=m2-; may be given again"


class Service(Protocol):
    """What is started and stopped."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


Config = TypeVar("Config")


def run(
    name: str, kind: type[Config], make: Callable[[Config], Service], config: Path, overrides: Sequence[str],
    *errors: type[Exception],
) -> int:  # fmt: skip
    """Runs the service until SIGTERM or SIGINT; returns the exit code. `errors`: of its own that are one line."""
    stopping = stop.on_signals()
    try:
        settings: Any = load(kind, config, overrides)
        logs.setup(settings.log_level)
        service = make(settings)
        service.start()
    except EXPECTED + errors as error:
        print(f"blindsight {name}: {error}", file=sys.stderr)
        return 1
    stopping.wait()
    service.stop()
    return stop.leave(0)


def main(name: str, description: str, start: Callable[[Path, Sequence[str]], int]) -> None:
    """The command line of one service."""
    parser = argparse.ArgumentParser(prog=f"blindsight-{name}", description=description)
    parser.add_argument("--config", type=Path, required=True, metavar="F.toml")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=SET_HELP)
    options = parser.parse_args()
    sys.exit(start(options.config, options.set))
