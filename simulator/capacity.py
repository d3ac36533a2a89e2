"""How many workers, cores, gigabytes and broker nodes a fleet needs.

**The queueing model.** Pictures arrive as a Poisson process; in the busy hour `peak` times as often as on average. Worker
pairs (one worker of the cloud with one of the helper) take one picture each from one common queue: M/G/c, with a = rate x s
the offered load, s the mean service time and v its squared coefficient of variation.

* *Sizing* takes service as exponential (M/M/c), which has a closed form, Erlang's C (1917), and overstates the wait of a
  service that hardly varies: P(wait > t) = C(c, a) exp(-(c - a) t / s). The fewest workers are taken for which that is at
  most `late` for t = `wait_s` in the busy hour, and never fewer than keep each below `headroom`.
* The *mean wait* is Allen and Cunneen's approximation for M/G/c: C(c, a) s / (c - a) x (1 + v) / 2 (A. O. Allen, Probability,
  Statistics, and Queueing Theory, 2nd ed., 1990, chapter 5), exact for M/M/c and for M/G/1.

Material is made ahead by cores of its own, at the day's mean rate; what the busy hours use up above it lies on disk. A broker
node is one Mosquitto, whose one thread carries so many messages a second: both from measured processor time, planned to
`headroom`.

Costs come from `blindsight sim measure --out FILE` (data/servers.json holds one file a model) or, with assumptions in the place
of what it does not measure, from `blindsight infer --json`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blindsight.simulator.cost.data import DATA, CostError
from blindsight.simulator.cost.traffic import shape
from blindsight.wire.blocks import Mode

DAY, MAX_DEVICES = 86400.0, 10_000_000
ASSUMED = {
    "overhead_s": (0.1, "a worker pair's time for a picture beside the protocol (lease, persist, seal); only for --costs from infer"),
    "cores_a_pair": (2.0, "a worker of the cloud and one of the helper keep a core each; only for --costs from infer"),
    "broker_messages_core_s": (10_000.0, "messages in and out that Mosquitto's thread carries a second; only for --costs from infer"),
    "broker_connections": (100_000.0, "connections of one broker node; its memory for them is measured, their number was not tried"),
    "tls_factor": (3.0, "a broker's work with TLS records over that without, which is what was measured"),
    "headroom": (0.7, "highest load that workers, cores and brokers are planned for"),
    "worker_ram_mb": (90.0, "resident memory of a service with one worker; only for --costs from infer"),
}  # fmt: skip


@dataclass(frozen=True)
class Servers:
    """Costs of one picture: seconds of a worker pair (mean, and squared coefficient of variation), processor seconds of both
    servers online and for the material, bytes between the servers, bytes of material on both disks; what a broker's core
    carries, and a worker's memory. `assumed`: which of ASSUMED stand in for a measurement.
    """

    service_s: float
    cv2: float
    online_cpu_s: float
    offline_s: float
    offline_cpu_s: float
    online_bytes: float
    offline_bytes: float
    material_bytes: float
    broker_messages_core_s: float
    connection_kb: float
    worker_ram_mb: float
    counts_from: str
    assumed: tuple[str, ...] = ()

    @classmethod
    def read(cls, got: Mapping[str, Any], counts_from: str) -> Servers:
        """Of the object that `sim measure` or `infer --json` prints; CostError says what is missing."""
        try:
            out = _of_measure(got) if "service_s" in got else _of_infer(got, counts_from)
        except (KeyError, TypeError, ValueError):
            raise CostError(
                "costs are the output of `blindsight sim measure --out FILE` or `blindsight infer --json`; "
                f"{counts_from} is neither, or lacks a number"
            ) from None
        numbers = [v for v in vars(out).values() if isinstance(v, float)]
        if not all(math.isfinite(n) and n >= 0 for n in numbers) or not (out.service_s and out.online_cpu_s):
            raise CostError(f"{counts_from}: costs of a picture are numbers above 0")
        return out

    @property
    def pair_per_s(self) -> float:
        """Pictures a second of a pair that makes its material between pictures: where `sim knee` finds the knee."""
        return 1 / (self.service_s + self.offline_s)


def _of_measure(got: Mapping[str, Any]) -> Servers:
    service, broker = got["service_s"], got["broker"]
    where = f"`sim measure`, {got['model']}, {got['date']}, commit {got['commit']}, {got['machine']}, load average {got['load_average']}"
    return Servers(
        float(service["p50"]), float(service["cv2"]), _both(got["cpu_s"]), float(got["material_s"]["p50"]),
        _both(got["material_cpu_s"]), float(got["link"]["online_bytes"]), float(got["link"]["offline_bytes"]),
        _both(got["material_bytes"]), float(broker["messages_core_s"]), float(broker["connection_kb"]),
        _both(got["rss_mb"]) / 2, where,
    )  # fmt: skip


def _both(row: Mapping[str, Any]) -> float:
    return float(row["cloud"]) + float(row["helper"])


def _of_infer(got: Mapping[str, Any], counts_from: str) -> Servers:
    """Material on disk is not in it: what crosses the link for it bounds it from below and is taken."""
    online, offline = float(got["online_s"]), float(got["offline_s"])
    used = ("overhead_s", "cores_a_pair", "broker_messages_core_s", "worker_ram_mb")
    overhead, cores, messages, ram = (ASSUMED[k][0] for k in used)
    return Servers(
        online + overhead, 0.0, (online + overhead) * cores, offline, offline * cores, float(got["online_bytes"]),
        float(got["offline_bytes"]), 2 * float(got["offline_bytes"]), messages, 10.0, ram, counts_from, used,
    )  # fmt: skip


def measured(model: str, costs: Path | None = None) -> tuple[Servers, tuple[int, int, int]]:
    """Costs of a zoo model as measured once (data/servers.json), or those of a file; and the shape of a picture."""
    table = json.loads((DATA / "servers.json").read_text())
    known = ", ".join(table)
    if costs is None:
        if model not in table:
            raise CostError(f"no measured costs of {model!r}; known: {known}; or pass --costs FILE")
        return Servers.read(table[model], "data/servers.json"), _shape(table[model])
    try:
        got = json.loads(costs.read_text())
    except (ValueError, RecursionError):
        raise CostError(
            f"{costs.name} is not JSON: give it the output of `blindsight sim measure --out`"
        ) from None
    if not isinstance(got, dict):
        raise CostError(f"{costs.name} holds no object")
    if "shape" not in got and model not in table:
        raise CostError(f"{costs.name} names no shape, and {model!r} is not one of {known}")
    return Servers.read(got, costs.name), _shape(got if "shape" in got else table[model])


def _shape(row: Mapping[str, Any]) -> tuple[int, int, int]:
    height, width, channels = row["shape"]
    return int(height), int(width), int(channels)


@dataclass(frozen=True)
class Fleet:
    """What is asked of the servers."""

    devices: int
    per_day: float
    mode: Mode = Mode.RLWE
    height: int = 28
    width: int = 28
    channels: int = 1
    peak: float = 3.0
    wait_s: float = 1.0
    late: float = 0.05
    busy_hours: float = 2.0
    tls: bool = True

    def check(self) -> None:
        """CostError for what makes no sense."""
        if not 1 <= self.devices <= MAX_DEVICES or not 0 < self.per_day <= DAY:
            raise CostError(f"1 to {MAX_DEVICES:,} devices, above 0 and up to 86400 pictures a day each")
        if not (
            1 <= self.peak <= 24 and self.wait_s >= 0 and 0 < self.late < 1 and 0 < self.busy_hours <= 24
        ):
            raise CostError("peak is 1 to 24, wait 0 or more, late between 0 and 1, busy hours up to 24")
        if not (1 <= min(self.height, self.width) <= max(self.height, self.width) <= 4096):
            raise CostError("a picture is 1 to 4096 pixels high and wide")


def erlang_c(servers: int, load: float) -> float:
    """Probability that an arrival waits in M/M/c with offered load `load` < `servers` (Erlang, 1917)."""
    blocked = 1.0  # Erlang B by its recursion, stable for any size
    for c in range(1, servers + 1):
        blocked = load * blocked / (c + load * blocked)
    return servers * blocked / (servers - load * (1 - blocked))


def late_share(servers: int, load: float, service_s: float, wait_s: float) -> float:
    """P(wait > wait_s)."""
    if servers <= load:
        return 1.0
    return erlang_c(servers, load) * math.exp(-(servers - load) * wait_s / service_s)


def workers_needed(load: float, service_s: float, wait_s: float, late: float) -> int:
    """The fewest workers with P(wait > wait_s) <= late. One pass of the recursion."""
    blocked, c = 1.0, 0
    while True:
        c += 1
        blocked = load * blocked / (c + load * blocked)
        if c > load:
            waits = c * blocked / (c - load * (1 - blocked))
            if waits * math.exp(-(c - load) * wait_s / service_s) <= late:
                return c


def capacity(fleet: Fleet, servers: Servers) -> dict[str, Any]:
    """The report's object; the same numbers every time."""
    fleet.check()
    mean = fleet.devices * fleet.per_day / DAY
    top = mean * fleet.peak
    value = {k: v for k, (v, _) in ASSUMED.items()}
    service, room = servers.service_s, value["headroom"]
    load = top * service
    if load > 5e6:
        raise CostError("more than five million workers: fewer pictures, or a smaller network")
    pairs = max(workers_needed(load, service, fleet.wait_s, fleet.late), math.ceil(load / room))
    s = shape(fleet.mode, fleet.height, fleet.width, fleet.channels)
    messages = len(s.blocks) + 1 + 2  # blocks, manifest; receipt and result
    through = top * messages * 2  # each comes in and goes out
    reserve = (top - mean) * fleet.busy_hours * 3600
    factor = value["tls_factor"] if fleet.tls else 1.0
    node = servers.broker_messages_core_s * room / factor
    wait = erlang_c(pairs, load) * service / (pairs - load) * (1 + servers.cv2) / 2
    used = ("broker_connections", "headroom", *(("tls_factor",) if fleet.tls else ()), *servers.assumed)
    return {
        "devices": fleet.devices,
        "pictures_a_day": fleet.devices * fleet.per_day,
        "mean_per_s": round(mean, 4),
        "busy_hour_per_s": round(top, 4),
        "service_s": round(service, 4),
        "worker_pairs": pairs,
        "worker_load": round(load / pairs, 4),
        "mean_wait_s": float(f"{wait:.4g}"),
        "late_share": float(f"{late_share(pairs, load, service, fleet.wait_s):.4g}"),
        "online_cores": max(1, math.ceil(top * servers.online_cpu_s / room)),
        "offline_cores": max(1, math.ceil(mean * servers.offline_cpu_s / room)),
        "worker_ram_gb": float(f"{2 * pairs * servers.worker_ram_mb / 1e3:.4g}"),
        "material_gb_a_day": float(f"{mean * DAY * servers.material_bytes / 1e9:.4g}"),
        "material_reserve_gb": float(f"{reserve * servers.material_bytes / 1e9:.4g}"),
        "link_gbit_s": float(f"{8e-9 * (top * servers.online_bytes + mean * servers.offline_bytes):.4g}"),
        "ingress_gbit_s": float(f"{8e-9 * top * s.payload:.4g}"),
        "broker_messages_s": round(through, 2),
        "broker_ram_gb": float(f"{fleet.devices * servers.connection_kb / 1e6:.4g}"),
        "broker_nodes": max(
            1, math.ceil(through / node), math.ceil(fleet.devices / value["broker_connections"])
        ),
        "model": "M/G/c in the busy hour: workers by Erlang's C (M/M/c, an upper bound), mean wait by Allen and Cunneen",
        "counts_from": servers.counts_from,
        "assumed": {k: {"value": ASSUMED[k][0], "why": ASSUMED[k][1]} for k in used},
    }  # fmt: skip
