"""Settings that both services have: the metrics page, the store's place, the TLS files of a link."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

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


@dataclass(frozen=True)
class ServerLink:
    """The link between the servers: with `ca`, `certificate` and `key` mutual TLS, without them loopback in the
    clear. `TABLE` is what the settings file calls it.
    """

    TABLE: ClassVar[str] = ""
    host: str = "127.0.0.1"
    port: int = 7610
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    timeout_s: float = 300.0
    network: str = "lan"

    def __post_init__(self) -> None:
        files = (self.ca, self.certificate, self.key)
        if any(files) and not all(files):
            raise ValueError(
                f"{self.TABLE}.ca, {self.TABLE}.certificate and {self.TABLE}.key belong together"
            )
        if not any(files) and self.host not in LOCAL:
            raise ValueError(
                f"{self.TABLE}.ca is missing: {self.host} is not this machine alone, and is reached over TLS only"
            )
        if self.network not in ("lan", "wan"):
            raise ValueError(f'{self.TABLE}.network is "lan" or "wan"')


def place(store: str, file: Path) -> Place:
    """Where the store is: the `store` setting's PostgreSQL address, checked, else `file`."""
    if not store:
        return file
    from blindsight.service.postgres import check_address

    try:
        return check_address(store)
    except StoreFault as error:
        raise ValueError(str(error)) from None


def place_name(found: Place) -> str:
    """A store for people: the file, or host and database, never the password."""
    if isinstance(found, Path):
        return str(found.absolute())
    from blindsight.service.postgres import address_name

    return address_name(found)
