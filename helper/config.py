"""The helper's settings: one TOML file. `blindsight keys init` writes a working one for a test set-up."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from blindsight.service.database import Place
from blindsight.service.settings import LOCAL, MetricsPage, ServerLink, check_level, place


@dataclass(frozen=True)
class Listen(ServerLink):
    """Where the cloud connects, the name its certificate must carry, and how many connections are served."""

    TABLE = "listen"
    peer: str = "cloud.blindsight"
    connections: int = 8


@dataclass(frozen=True)
class Limits:
    """Quotas a device. `pictures_a_day` counts new images; repeats of a bound one are limited by
    `attempts`.
    """

    pictures_a_day: int = 20000
    attempts: int = 100
    shares_in_memory: int = 1024


@dataclass(frozen=True)
class Devices:
    """Where devices find the broker, and whether it knows them by certificates or accounts: what `blindsight keys
    device` writes for them. The helper never goes there itself: it has neither.
    """

    broker: str = ""
    port: int = 8883
    ca: Path | None = None
    certificates: bool = False
    accounts: bool = False

    def __post_init__(self) -> None:
        if self.broker and self.ca is None and self.broker not in LOCAL:
            raise ValueError(f"devices.ca is missing: a broker on {self.broker} is reached over TLS only")


@dataclass(frozen=True)
class HelperConfig:
    """Everything. `data` holds the store and the material, `plans` the public plans, `master` the master
    secret.
    """

    data: Path
    plans: Path
    master: Path
    store: str = ""  # postgresql:// address of a store that several machines share; empty: a file in `data`
    log_level: str = "info"
    threads: int = 1
    listen: Listen = field(default_factory=Listen)
    limits: Limits = field(default_factory=Limits)
    devices: Devices = field(default_factory=Devices)
    metrics: MetricsPage = field(default_factory=MetricsPage)

    def __post_init__(self) -> None:
        check_level(self.log_level)
        place(self.store, self.data)

    @property
    def database(self) -> Place:
        """Bindings, answers and the register of devices."""
        return place(self.store, self.data / "helper.db")
