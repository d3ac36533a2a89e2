"""How many workers, cores, gigabytes and broker nodes a fleet needs.

**The queueing model.** Pictures arrive as a Poisson process; in the busy hour `peak` times as often as on average. Worker
pairs (one worker of the cloud with one of the helper) take one picture each from one common queue, so the servers are
an M/G/c queue. A network's service time hardly varies; taking it as exponential (M/M/c) overstates the wait, about
twofold for a constant one, and has a closed form, Erlang's C: P(wait > t) = C(c, a) exp(-(c - a) t / s), with a = rate
x s. The fewest workers are taken for which P(wait > `wait_s`) <= `late` in the busy hour. Material is made ahead, at the
day's mean rate; what the busy hours use up above it lies on disk. A broker node carries so many messages a second, in
and out, and so many connections; assumed figures are named in the report.

Costs of a picture come from a measurement (`blindsight infer --json`), one worker pair alone on its machine.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blindsight.simulator.cost.data import DATA, CostError
from blindsight.simulator.cost.traffic import shape
from blindsight.wire.blocks import Mode

DAY, MAX_DEVICES = 86400.0, 10_000_000
ASSUMED = {
    "overhead_s": (
        0.1,
        "a worker pair's time for a picture beside the protocol (lease, persist, seal): one picture alone took 0.18 s "
        "from its last block to its answer, of which the protocol 0.07 s",
    ),
    "broker_messages_s": (
        2000.0,
        "messages of up to 64 KiB at QoS 1 that a broker node carries a second, in and out together: Mosquitto did "
        "1,090 to 3,536 on a noisy machine",
    ),
    "broker_connections": (100_000.0, "connections of one broker node; not measured"),
    "cores_a_pair": (2.0, "a worker of the cloud and one of the helper keep a core each"),
    "offline_cores": (2.0, "making material keeps a core of each server"),
    "headroom": (0.7, "highest load the cores that make material are planned for"),
}


@dataclass(frozen=True)
class Servers:
    """Costs of one picture: seconds with a worker pair, seconds of making its material, bytes between the servers, and
    bytes of material on each server's disk.
    """

    online_s: float
    offline_s: float
    online_bytes: float
    offline_bytes: float
    material_bytes: float
    counts_from: str

    @classmethod
    def from_infer(cls, measured: dict[str, Any], counts_from: str) -> Servers:
        """Of the object `blindsight infer --json` prints. Material on disk is not in it: what crosses the link for it
        bounds it from below and is taken.
        """
        try:
            numbers = [float(measured[k]) for k in ("online_s", "offline_s", "online_bytes", "offline_bytes")]
        except (KeyError, TypeError, ValueError):
            raise CostError(
                "not an object of `blindsight infer --json`: it lacks online_s or its like"
            ) from None
        if not all(math.isfinite(n) and n > 0 for n in numbers):
            raise CostError("costs of a picture are numbers above 0")
        material = float(measured.get("material_bytes", numbers[3]))
        return cls(numbers[0], numbers[1], numbers[2], numbers[3], material, counts_from)


def measured(model: str, infer: Path | None = None) -> tuple[Servers, tuple[int, int, int]]:
    """Costs of a zoo model as measured once (data/servers.json), or those of an `infer --json` file; and the shape of
    the model's picture.
    """
    table = json.loads((DATA / "servers.json").read_text())
    if model not in table["models"]:
        raise CostError(
            f"no measured costs of {model!r}; known: {', '.join(table['models'])}; or pass --infer FILE"
        )
    row = table["models"][model]
    height, width, channels = row["shape"]
    if infer is None:
        return Servers.from_infer(row, table["counts_from"]), (height, width, channels)
    try:
        return Servers.from_infer(json.loads(infer.read_text()), infer.name), (height, width, channels)
    except ValueError:
        raise CostError(
            f"{infer.name} is not JSON: give it the output of `blindsight infer --json`"
        ) from None


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

    def check(self) -> None:
        """CostError for what makes no sense."""
        if not 1 <= self.devices <= MAX_DEVICES or not 0 < self.per_day <= DAY:
            raise CostError(f"1 to {MAX_DEVICES:,} devices, above 0 and up to 86400 pictures a day each")
        if not (
            1 <= self.peak <= 24 and self.wait_s >= 0 and 0 < self.late < 1 and 0 < self.busy_hours <= 24
        ):
            raise CostError("peak is 1 to 24, wait 0 or more, late between 0 and 1, busy hours up to 24")


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
    service = servers.online_s + value["overhead_s"]
    load = top * service
    if load > 5e6:
        raise CostError("more than five million workers: fewer pictures, or a smaller network")
    pairs = workers_needed(load, service, fleet.wait_s, fleet.late)
    s = shape(fleet.mode, fleet.height, fleet.width, fleet.channels)
    messages = len(s.blocks) + 1 + 2  # blocks, manifest; receipt and result
    through = top * messages * 2  # each comes in and goes out
    offline = max(1, math.ceil(mean * servers.offline_s * value["offline_cores"] / value["headroom"]))
    reserve = (top - mean) * fleet.busy_hours * 3600
    waits = late_share(pairs, load, service, 0)
    return {
        "devices": fleet.devices,
        "pictures_a_day": fleet.devices * fleet.per_day,
        "mean_per_s": round(mean, 4),
        "busy_hour_per_s": round(top, 4),
        "service_s": round(service, 4),
        "worker_pairs": pairs,
        "worker_load": round(load / pairs, 4),
        "mean_wait_s": float(f"{waits * service / (pairs - load):.4g}"),
        "late_share": float(f"{late_share(pairs, load, service, fleet.wait_s):.4g}"),
        "online_cores": math.ceil(pairs * value["cores_a_pair"]),
        "offline_cores": offline,
        "material_gb_a_day": float(f"{mean * DAY * servers.material_bytes / 1e9:.4g}"),
        "material_reserve_gb": float(f"{reserve * servers.material_bytes / 1e9:.4g}"),
        "link_gbit_s": float(f"{8e-9 * (top * servers.online_bytes + mean * servers.offline_bytes):.4g}"),
        "ingress_gbit_s": float(f"{8e-9 * top * s.payload:.4g}"),
        "broker_messages_s": round(through, 2),
        "broker_nodes": max(
            1,
            math.ceil(through / value["broker_messages_s"]),
            math.ceil(fleet.devices / value["broker_connections"]),
        ),
        "model": "M/M/c (Erlang C) for the worker pairs in the busy hour, an upper bound as service hardly varies; material "
        "on disk taken as the bytes that crossed the link for it, a lower bound",
        "counts_from": servers.counts_from,
        "assumed": {k: {"value": v, "why": why} for k, (v, why) in ASSUMED.items()},
    }
