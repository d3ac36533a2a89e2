"""Settings that both services have: the metrics page, the store's place, the TLS files of a link."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blindsight.service.database import Place, StoreFault

LOCAL = ("127.0.0.1", "localhost", "::1")
LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True)
class MetricsPage:
    """The Prometheus page; port 0 is none."""

    host: str = "127.0.0.1"
    port: int = 0


def check_level(level: str) -> None:
    """Raises `ValueError` for a log level that is none."""
    if level not in LEVELS:
        raise ValueError("log_level is debug, info, warning or error")


def check_link(table: str, host: str, files: tuple[Path | None, ...], network: str) -> None:
    """Raises `ValueError` unless the server link is mutual TLS, or stays on this machine."""
    if any(files) and not all(files):
        raise ValueError(f"{table}.ca, {table}.certificate and {table}.key belong together")
    if not any(files) and host not in LOCAL:
        raise ValueError(
            f"{table}.ca is missing: {host} is not this machine alone, and is reached over TLS only"
        )
    if network not in ("lan", "wan"):
        raise ValueError(f'{table}.network is "lan" or "wan"')


def place(store: str, file: Path) -> Place:
    """Where the store is: the `store` setting's PostgreSQL address, checked, else `file`."""
    if not store:
        return file
    from blindsight.service.postgres import check_address

    try:
        return check_address(store)
    except StoreFault as error:
        raise ValueError(str(error)) from None
