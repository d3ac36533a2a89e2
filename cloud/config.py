"""The cloud's settings: one TOML file. `blindsight keys init` writes a working one for a test set-up."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from blindsight.cloud.jobs import MAX_WAIT_S
from blindsight.service.database import Place
from blindsight.service.settings import LOCAL, MetricsPage, ServerLink, check_level, place
from blindsight.wire import topics


@dataclass(frozen=True)
class Broker:
    """Where the broker is and how to get in. Without `ca` the connection is in the clear: loopback and
    tests only.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    client_id: str = "blindsight-cloud"
    user: str | None = None
    password_file: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    keepalive_s: int = 30
    protocol: str = "3.1.1"
    receive_maximum: int = 200  # MQTT 5: messages the broker may leave unacknowledged here
    expiry_s: int = 7 * 86400  # MQTT 5: receipts and answers wait so long for a device that is away

    def __post_init__(self) -> None:
        if self.protocol not in ("3.1.1", "5"):
            raise ValueError('broker.protocol is "3.1.1" or "5"')
        if not 1 <= self.receive_maximum <= 65535 or not 1 <= self.expiry_s < 1 << 32:
            raise ValueError("broker.receive_maximum is 1 to 65535, broker.expiry_s at least 1")
        if self.ca is None and self.host not in LOCAL:
            raise ValueError(f"broker.ca is missing: a broker on {self.host} is reached over TLS only")


@dataclass(frozen=True)
class HelperLink(ServerLink):
    """Where the helper is, and the name its certificate must carry."""

    TABLE = "helper"
    name: str = "helper.blindsight"


@dataclass(frozen=True)
class Limits:
    """Quotas a device, what the store may hold before messages are held back, and how long things are kept."""

    pictures_waiting: int = 64
    bytes_waiting: int = 1 << 26
    pictures_queued: int = 512
    backlog: int = 10000
    disk_free_bytes: int = 1 << 27
    assembling_s: float = 86400.0
    answers_s: float = 7 * 86400.0
    ids_s: float = 90 * 86400.0
    resend_s: float = 86400.0
    attempts: int = 30


@dataclass(frozen=True)
class Workers:
    """Worker pairs of this process and their leases. Names are `<prefix><number>`: one material pool each.

    A pool that falls below `material_low` slots is filled up to `material_high` while no picture waits.
    """

    count: int = 1
    prefix: str = "w"
    lease_s: float = 60.0
    retry_s: float = 0.5
    retry_max_s: float = 60.0
    threads: int = 1
    material_low: int = 4
    material_high: int = 16
    material_batch: int = 16
    material_for: str = (
        "mask"  # ingest kinds to keep material for before the first picture comes, comma between
    )

    def __post_init__(self) -> None:
        if set(self.material_for.split(",")) - {"mask", "xor", ""}:
            raise ValueError(
                'workers.material_for is "mask" (lattice modes), "xor" (aes) or both with a comma'
            )
        if not 0 <= self.material_low <= self.material_high:
            raise ValueError("workers.material_low is at most workers.material_high")
        if max(self.lease_s, self.retry_max_s) >= MAX_WAIT_S:
            raise ValueError(f"workers.lease_s and workers.retry_max_s are below {MAX_WAIT_S:g} seconds")
        if not 1 <= self.material_batch <= 16:
            raise ValueError("workers.material_batch is 1 to 16")


@dataclass(frozen=True)
class CloudConfig:
    """Everything. `data` holds the store and the material, `models` the installed models."""

    data: Path
    models: Path
    store: str = ""  # postgresql:// address of a store that several machines share; empty: a file in `data`
    shards: str = topics.SHARDS
    ingress: bool = True
    log_level: str = "info"
    broker: Broker = field(default_factory=Broker)
    helper: HelperLink = field(default_factory=HelperLink)
    limits: Limits = field(default_factory=Limits)
    workers: Workers = field(default_factory=Workers)
    metrics: MetricsPage = field(default_factory=MetricsPage)

    def __post_init__(self) -> None:
        topics.subscriptions(self.shards)
        check_level(self.log_level)
        place(self.store, self.data)
        if self.store and self.workers.count and self.workers.prefix == Workers.prefix:
            raise ValueError(
                "workers.prefix is missing: machines that share a store name their worker pairs apart"
            )

    @property
    def database(self) -> Place:
        """The store."""
        return place(self.store, self.data / "cloud.db")
