"""The [fleet] table of a scenario: groups of devices, what the network does to them, and when the broker is restarted.

Entries of a group may stand in [fleet] itself; they are then every group's. Without [[fleet.group]] the table is one group.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from blindsight.simulator.cost.data import CostError
from blindsight.wire import WireError
from blindsight.wire.blocks import Mode

DUTIES = ("uniform", "poisson", "periodic", "aligned")
MAX_DEVICES, MAX_FIRMWARE, MAX_PICTURES = 10000, 32, 100_000


@dataclass(frozen=True)
class Group:
    """Devices of one kind. `each`: pictures of a device in the run; 0: by `per_day` and the run's simulated hours.
    `duty`: when they are taken: at uniform times, as a Poisson process, evenly from a phase of the device's own, or
    evenly on the same second for all (`aligned`). `sleep`: `connected` keeps the connection, `deep` makes one for each
    picture. `firmware`: devices more that run the real firmware. `cut`: part of the pictures whose connection is cut in
    the middle; `loss`: part of the messages that are lost once and sent again by TCP; `bandwidth_kbit_s` 0: no limit.
    `clock_skew_s`: clocks are off by up to that, `clock_drift_ppm`: and run fast or slow by up to that. `battery_mah` 0:
    mains; `charge`: how full the cells are at the start, [low, high].
    """

    name: str = "devices"
    board: str = "esp32-c3"
    devices: int = 100
    firmware: int = 0
    model: str = "mnist"
    ingest: str = "rlwe"
    each: int = 1
    per_day: float = 40.0
    duty: str = "uniform"
    sleep: str = "deep"
    latency_s: float = 0.02
    loss: float = 0.0
    bandwidth_kbit_s: float = 0.0
    cut: float = 0.05
    clock_skew_s: float = 0.0
    clock_drift_ppm: float = 0.0
    battery_mah: float = 0.0
    charge: tuple[float, float] = (1.0, 1.0)

    @property
    def mode(self) -> Mode:
        """The ingest mode."""
        return Mode.named(self.ingest)

    def check(self) -> None:
        """CostError for what makes no sense."""
        if not re.fullmatch(r"[a-z0-9-]{1,20}", self.name):
            raise CostError(f"group {self.name!r}: a name is 1 to 20 of a-z, 0-9 and -")
        if not (
            0 <= self.devices <= MAX_DEVICES and 0 <= self.firmware <= MAX_FIRMWARE and 0 <= self.each <= 1000
        ):
            raise CostError(
                f"{self.name}: devices up to {MAX_DEVICES}, firmware up to {MAX_FIRMWARE}, each up to 1000"
            )
        if self.duty not in DUTIES or self.sleep not in ("deep", "connected"):
            raise CostError(f"{self.name}: duty is one of {', '.join(DUTIES)}; sleep deep or connected")
        if not (0 <= self.cut <= 1 and 0 <= self.loss <= 0.5 and 0 <= self.latency_s <= 10):
            raise CostError(f"{self.name}: cut 0 to 1, loss 0 to 0.5, latency_s 0 to 10")
        if (
            self.bandwidth_kbit_s < 0
            or (0 < self.bandwidth_kbit_s < 1)
            or not 0 <= self.clock_drift_ppm <= 1e5
        ):
            raise CostError(f"{self.name}: bandwidth_kbit_s 0 or at least 1, clock_drift_ppm 0 to 100000")
        if not 0 < self.per_day <= 86400 or self.battery_mah < 0 or self.clock_skew_s < 0:
            raise CostError(f"{self.name}: per_day is up to 86400; battery_mah and clock_skew_s not negative")
        low, high = self.charge
        if not 0 <= low <= high <= 1:
            raise CostError(f"{self.name}: charge is [low, high], parts of a full cell")
        try:
            Mode.named(self.ingest)
        except WireError as error:
            raise CostError(f"{self.name}: {error}") from None


@dataclass(frozen=True)
class Outage:
    """`part` of the devices (of `group`, where named) are without network from `at` for `lasts` seconds."""

    at: float
    lasts: float
    part: float = 1.0
    group: str = ""


@dataclass(frozen=True)
class Restart:
    """The broker stops at `at` for `down` seconds; `kill`: by SIGKILL, without saving its sessions first."""

    at: float
    down: float = 1.0
    kill: bool = False


@dataclass(frozen=True)
class Fleet:
    """A run of `seconds`, in which `hours` pass for the devices (0: as many as the clock says). `workers`: worker pairs of
    the servers; `ahead`: pictures' worth of material made before the first and while none waits.
    """

    groups: tuple[Group, ...] = (Group(),)
    seconds: float = 60.0
    hours: float = 0.0
    seed: int = 0
    timeout_s: float = 600.0
    workers: int = 1
    ahead: int = 16
    outages: tuple[Outage, ...] = ()
    restarts: tuple[Restart, ...] = ()

    @property
    def speed(self) -> float:
        """Simulated seconds a second."""
        return self.hours * 3600 / self.seconds if self.hours else 1.0

    @property
    def devices(self) -> int:
        """Simulated ones."""
        return sum(g.devices for g in self.groups)

    @property
    def firmware(self) -> int:
        """With the real firmware."""
        return sum(g.firmware for g in self.groups)

    def check(self) -> None:
        """CostError for what makes no sense."""
        for g in self.groups:
            g.check()
        if len({g.name for g in self.groups}) < len(self.groups):
            raise CostError("each group has a name of its own")
        if not 1 <= self.devices <= MAX_DEVICES or self.firmware > MAX_FIRMWARE:
            raise CostError(
                f"1 to {MAX_DEVICES} devices in all, at most {MAX_FIRMWARE} with the real firmware"
            )
        if not (1 <= self.seconds <= 86400 and self.timeout_s >= 1 and 0 <= self.hours <= 24 * 365):
            raise CostError("seconds is 1 to 86400, timeout_s at least 1, hours up to a year")
        if not (1 <= self.workers <= 64 and 1 <= self.ahead <= 10000):
            raise CostError("workers is 1 to 64, ahead 1 to 10000")
        names = {g.name for g in self.groups} | {""}
        for o in self.outages:
            if o.at < 0 or o.lasts <= 0 or not 0 < o.part <= 1 or o.group not in names:
                raise CostError(
                    "an outage has at >= 0, for > 0, part above 0 and up to 1, and names a group or none"
                )
        for r in self.restarts:
            if r.at < 0 or not 0 <= r.down <= 600:
                raise CostError("a restart has at >= 0 and down 0 to 600 seconds")

    def override(self, **given: Any) -> Fleet:
        """The same with some values replaced; `devices` and `firmware` are shared out as the groups' were."""
        whole = {f.name for f in fields(Fleet)}
        own = {k: v for k, v in given.items() if v is not None and k in whole}
        of_groups = {k: v for k, v in given.items() if v is not None and k not in whole}
        groups = list(self.groups)
        if "devices" in of_groups:
            shares = _share(of_groups.pop("devices"), [g.devices for g in groups])
            groups = [replace(g, devices=n) for g, n in zip(groups, shares, strict=True)]
        if "firmware" in of_groups:
            shares = _share(of_groups.pop("firmware"), [g.firmware for g in groups])
            groups = [replace(g, firmware=n) for g, n in zip(groups, shares, strict=True)]
        return replace(self, groups=tuple(replace(g, **of_groups) for g in groups), **own)


def _share(count: int, before: list[int]) -> list[int]:
    """`count` in the proportions of `before` (evenly where all are 0), by largest remainders."""
    weights = before if sum(before) else [1] * len(before)
    exact = [count * w / sum(weights) for w in weights]
    out = [int(e) for e in exact]
    for i in sorted(range(len(out)), key=lambda i: out[i] - exact[i])[: count - sum(out)]:
        out[i] += 1
    return out


_KINDS: dict[str, type] = {f.name: type(f.default) for f in fields(Group)}
_OWN = {"seconds": float, "hours": float, "seed": int, "timeout_s": float, "workers": int, "ahead": int}
_OUTAGE = {"at": float, "for": float, "part": float, "group": str}
_RESTART = {"at": float, "down": float, "kill": bool}


def parse(raw: Mapping[str, Any]) -> Fleet:
    """The [fleet] table; CostError names what to mend."""
    common = _typed({k: v for k, v in raw.items() if k in _KINDS}, _KINDS, "fleet")
    own = _typed({k: v for k, v in raw.items() if k in _OWN}, _OWN, "fleet")
    known = {*_KINDS, *_OWN, "group", "outage", "broker_restart"}
    for key in raw:
        if key not in known:
            raise CostError(f"fleet.{key}: one of {', '.join(sorted(known))}")
    groups = [
        Group(**({"name": f"group-{i + 1}"} | common | _typed(g, _KINDS, f"fleet.group {i + 1}")))
        for i, g in enumerate(_tables(raw, "group"))
    ]
    outages, restarts = [], []
    for entry in _tables(raw, "outage"):
        o = _typed(entry, _OUTAGE, "fleet.outage")
        outages.append(Outage(o.get("at", 0.0), o.get("for", 0.0), o.get("part", 1.0), o.get("group", "")))
    for entry in _tables(raw, "broker_restart"):
        restarts.append(Restart(**({"at": 0.0} | _typed(entry, _RESTART, "fleet.broker_restart"))))
    fleet = Fleet(
        tuple(groups) or (Group(**common),), outages=tuple(outages), restarts=tuple(restarts), **own
    )
    fleet.check()
    return fleet


def _tables(raw: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = raw.get(key, [])
    if not isinstance(found, list) or not all(isinstance(t, dict) for t in found):
        raise CostError(f"fleet.{key} is written [[fleet.{key}]], once for each")
    return found


def _typed(row: Mapping[str, Any], kinds: Mapping[str, type], where: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in row.items():
        kind = kinds.get(key)
        if kind is None:
            raise CostError(f"{where}.{key}: one of {', '.join(kinds)}")
        if kind is tuple:
            if not isinstance(value, list) or len(value) != 2 or not all(_number(v) for v in value):
                raise CostError(f"{where}.{key}: two numbers in brackets")
            out[key] = (float(value[0]), float(value[1]))
        elif kind is float and _number(value):
            out[key] = float(value)
        elif type(value) is kind:
            out[key] = value
        else:
            raise CostError(f"{where}.{key}: {value!r} is of the wrong kind")
    return out


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
