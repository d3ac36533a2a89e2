"""The helper's settings: one TOML file. `blindsight keys init` writes a working one for a test set-up."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Listen:
    """Where the cloud connects; with `ca`, `certificate` and `key` mutual TLS, without them loopback in the
    clear.
    """

    host: str = "127.0.0.1"
    port: int = 7610
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    peer: str = "cloud.blindsight"
    timeout_s: float = 300.0
    connections: int = 8
    network: str = "lan"

    def __post_init__(self) -> None:
        files = (self.ca, self.certificate, self.key)
        if any(files) and not all(files):
            raise ValueError("listen.ca, listen.certificate and listen.key belong together")
        if not any(files) and self.host not in ("127.0.0.1", "localhost", "::1"):
            raise ValueError(f"listen.ca is missing: {self.host} is not this machine alone, and needs TLS")
        if self.network not in ("lan", "wan"):
            raise ValueError('listen.network is "lan" or "wan"')


@dataclass(frozen=True)
class Limits:
    """Quotas a device. `pictures_a_day` counts new images; repeats of a bound one are limited by
    `attempts`.
    """

    pictures_a_day: int = 20000
    attempts: int = 100
    shares_in_memory: int = 1024


@dataclass(frozen=True)
class MetricsPage:
    """The Prometheus page; port 0 is none."""

    host: str = "127.0.0.1"
    port: int = 0


@dataclass(frozen=True)
class HelperConfig:
    """Everything. `data` holds the store and the material, `plans` the public plans, `master` the master
    secret.
    """

    data: Path
    plans: Path
    master: Path
    log_level: str = "info"
    threads: int = 1
    listen: Listen = field(default_factory=Listen)
    limits: Limits = field(default_factory=Limits)
    metrics: MetricsPage = field(default_factory=MetricsPage)

    def __post_init__(self) -> None:
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise ValueError("log_level is debug, info, warning or error")

    @property
    def database(self) -> Path:
        """Bindings, answers and the register of devices."""
        return self.data / "helper.db"
