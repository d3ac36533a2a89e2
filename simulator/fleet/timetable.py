"""The fleet's day, drawn from the seed beforehand: who takes which picture when, with which faults, until its cell is empty.

Everything here is a function of the scenario and the seed, to the last digit: the `model_outputs` of a report. What the
servers and this machine make of it (latencies, memory, order of answers) is measured and differs from run to run. Each
device draws from a stream of its own, so that another group more does not change the rest.
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blindsight.simulator.cost import Cost, CostError, Workload, cost
from blindsight.simulator.cost.traffic import Shape, shape
from blindsight.simulator.fleet.groups import MAX_PICTURES, Fleet, Group

RTO_S, MOST_TRIES = 0.3, 6  # TCP's first retransmission, doubled each time; tries of one message
AWAY_S = 2.0  # how long a cut device stays away at most
TOO_MANY = f"more than {MAX_PICTURES:,} pictures: fewer devices, or a shorter day"
CELL_V, EFFICIENCY = "battery.cell", "battery.efficiency"


@dataclass(frozen=True)
class Plan:
    """One picture to be taken: `at` seconds after the start by device `device`, test picture `picture`. `cut`: the
    connection is cut before its last message, `away_s` long. `delays`: before each message. `dies`: the cell is empty
    before its last message.
    """

    at: float
    device: int
    picture: int
    cut: bool
    away_s: float
    delays: tuple[float, ...]
    dies: bool = False


@dataclass(frozen=True)
class Member:
    """A device of the fleet: its group, how far its clock is off, joules at the start and spent, and when its cell is
    empty (or never).
    """

    name: str
    group: int
    skew_s: float
    drift_ppm: float
    joules: float
    spent: float
    dies_at: float | None
    affected: tuple[bool, ...]  # by each outage


@dataclass(frozen=True)
class Day:
    """Everything that is drawn."""

    members: list[Member]
    plans: list[Plan]
    outputs: dict[str, Any]


@dataclass(frozen=True)
class Spec:
    """What a group's model says: the picture's shape, how many test pictures there are, and letters of its name."""

    height: int
    width: int
    channels: int
    pictures: int


def draw(fleet: Fleet, specs: dict[str, Spec], hw: Path) -> Day:
    """The day of `fleet`; `specs`: by model name, `hw`: the folder of the room hw, for the boards' energy."""
    fleet.check()
    members: list[Member] = []
    plans: list[Plan] = []
    rows = []
    for number, group in enumerate(fleet.groups):
        spec = specs[group.model]
        price = _price(group, spec, hw)
        messages = len(_shape(group, spec).blocks) + 1
        first, taken = len(members), len(plans)
        missed = 0
        if taken + group.devices * _expected(fleet, group) > MAX_PICTURES:
            raise CostError(TOO_MANY)
        for i in range(group.devices):
            chance = random.Random(f"{fleet.seed}/{group.name}/{i}")
            member, own, lost = _device(fleet, number, i, spec, price, messages, chance)
            plans += [replace(p, device=len(members)) for p in own]
            members.append(member)
            missed += lost
        if len(plans) > MAX_PICTURES:
            raise CostError(TOO_MANY)
        rows.append(_outputs(fleet, group, spec, price, first, members[first:], plans[taken:], missed))
    plans.sort(key=lambda p: (p.at, p.device))
    outputs = {
        "seed": fleet.seed,
        "seconds": fleet.seconds,
        "simulated_hours": round(fleet.speed * fleet.seconds / 3600, 6),
        "pictures": len(plans),
        "deaths": sum(m.dies_at is not None for m in members),
        "groups": rows,
        "events": _events(fleet),
        "timetable_sha256": hashlib.sha256(_canonical(members, plans)).hexdigest(),
    }
    return Day(members, plans, outputs)


def _shape(group: Group, spec: Spec) -> Shape:
    return shape(group.mode, spec.height, spec.width, spec.channels)


@dataclass(frozen=True)
class _Price:
    """Joules of the cost model's middle: a picture, sending it once more, a second of sleep; a full cell."""

    cost: Cost
    picture: float
    again: float
    sleep_w: float
    full: float


def group_cost(group: Group, spec: Spec, hw: Path) -> Cost:
    """What a picture costs a device of the group."""
    work = Workload(
        mode=group.mode, height=spec.height, width=spec.width, channels=spec.channels, per_day=group.per_day,
        sleep=group.sleep, battery_mah=group.battery_mah,
    )  # fmt: skip
    try:
        return cost(hw, group.board, work)
    except CostError:  # a computer does not sleep
        return cost(hw, group.board, replace(work, sleep="none"))


def _price(group: Group, spec: Spec, hw: Path) -> _Price:
    found = group_cost(group, spec, hw)
    again = sum(s.millijoules.mid for s in found.stages if s.name in ("join", "tls handshake", "radio"))
    full = 0.0
    if group.battery_mah:
        cell, good = found.board.assume(CELL_V), found.board.assume(EFFICIENCY)
        full = group.battery_mah * 3.6 * cell.mid * good.mid
    sleep = found.sleep_ma.mid * found.volts.mid / 1e3
    return _Price(found, found.millijoules.mid / 1e3, again / 1e3, sleep, full)


def _device(
    fleet: Fleet, number: int, i: int, spec: Spec, price: _Price, messages: int, chance: random.Random
) -> tuple[Member, list[Plan], int]:
    """(the device, its pictures, how many it was to take after its end)."""
    group = fleet.groups[number]
    skew = chance.uniform(-group.clock_skew_s, group.clock_skew_s)
    drift = chance.uniform(-group.clock_drift_ppm, group.clock_drift_ppm)
    joules = price.full * chance.uniform(*group.charge)
    affected = tuple(chance.random() < o.part and o.group in ("", group.name) for o in fleet.outages)
    left, since, out, dies_at, missed = joules, 0.0, [], None, 0
    for at in _times(fleet, group, skew, drift, chance):
        cut = chance.random() < group.cut
        away = chance.uniform(0, AWAY_S)
        delays = tuple(
            chance.uniform(0, 2 * group.latency_s) + _retries(group, chance) for _ in range(messages)
        )
        plan = Plan(at, 0, chance.randrange(spec.pictures), cut, away, delays)
        if group.battery_mah:
            if dies_at is not None:
                missed += 1
                continue
            slept = (at - since) * fleet.speed
            if left <= price.sleep_w * slept:
                dies_at = since + left / price.sleep_w / fleet.speed
                missed += 1
                continue
            left, since = left - price.sleep_w * slept, at
            left -= price.picture + cut * price.again
            if left <= 0:
                dies_at, plan = at, replace(plan, dies=True, cut=False)
        out.append(plan)
    rest = price.sleep_w * (fleet.seconds - since) * fleet.speed
    if group.battery_mah and dies_at is None and left <= rest:
        dies_at = since + left / price.sleep_w / fleet.speed
    spent = min(joules, joules - left + rest) if dies_at is None else joules
    name = f"{group.name}-{i:05d}"
    return Member(name, number, skew, drift, joules, spent, dies_at, affected), out, missed


def _expected(fleet: Fleet, group: Group) -> float:
    """Pictures of one device, on average."""
    return group.each or group.per_day * fleet.speed * fleet.seconds / 86400


def _times(fleet: Fleet, group: Group, skew: float, drift: float, chance: random.Random) -> list[float]:
    """Seconds after the start, ascending; skew and drift are in the device's own, simulated seconds."""
    exact = _expected(fleet, group)
    if group.duty in ("uniform", "poisson"):  # a Poisson process, given its count, is uniform
        whole = int(exact) + (chance.random() < exact % 1)
        count = whole if group.duty == "uniform" else _poisson(exact, chance)
        return sorted(chance.uniform(0, fleet.seconds) for _ in range(count))
    period = fleet.seconds / exact
    phase = chance.random() * period if group.duty == "periodic" else 0.0
    out = []
    for k in range(int(fleet.seconds / period + 1)):
        at = (phase + k * period) * (1 + drift * 1e-6) + skew / fleet.speed
        if 0 <= at < fleet.seconds:
            out.append(at)
    return sorted(out)


def _poisson(mean: float, chance: random.Random) -> int:
    """Arrivals within one unit of time."""
    n, t = 0, chance.expovariate(mean)
    while t < 1:
        n, t = n + 1, t + chance.expovariate(mean)
    return n


def _retries(group: Group, chance: random.Random) -> float:
    """Seconds that TCP waits for what was lost, its patience doubling."""
    tries = 0
    while tries < MOST_TRIES and chance.random() < group.loss:
        tries += 1
    return RTO_S * ((1 << tries) - 1)


def _outputs(
    fleet: Fleet, group: Group, spec: Spec, price: _Price, first: int, members: list[Member], plans: list[Plan],
    missed: int,
) -> dict[str, Any]:  # fmt: skip
    sizes, found = _shape(group, spec), price.cost
    ends = sorted(m.dies_at for m in members if m.dies_at is not None)
    line = 8e-3 * sizes.payload / group.bandwidth_kbit_s if group.bandwidth_kbit_s else 0.0
    return {
        "group": group.name,
        "board": group.board,
        "model": group.model,
        "ingest": group.ingest,
        "devices": group.devices,
        "pictures": len(plans),
        "not_taken": missed,
        "unfinished": sum(p.dies for p in plans),
        "deaths": len(ends),
        "first_death_s": round(ends[0], 6) if ends else None,
        "cut": sum(p.cut for p in plans),
        "late_by_network_s": round(sum(sum(p.delays) for p in plans) / max(1, len(plans)) + line, 6),
        "clock_off_s": round(max((abs(m.skew_s) for m in members), default=0.0), 6),
        "payload_bytes": sizes.payload,
        "bytes_up": None if found.bytes is None else found.bytes.sum("up").to_json(),
        "awake_s": found.seconds.to_json(),
        "millijoules": found.millijoules.to_json(),
        "battery_days": None if found.battery_days is None else found.battery_days.to_json(),
        "joules": float(f"{sum(m.spent for m in members):.6g}") if group.battery_mah else None,
        "first_device": _first(fleet, price, members[0], [p for p in plans if p.device == first]) if members else None,
        "taken_per_minute": _histogram([p.at for p in plans], fleet.seconds),
    }  # fmt: skip


def _first(fleet: Fleet, price: _Price, member: Member, plans: list[Plan]) -> dict[str, Any]:
    """The day of a group's first device: when it takes pictures, and how full its cell is after each, of a full one."""
    out: dict[str, Any] = {"taken_s": [round(p.at, 3) for p in plans]}
    if price.full:
        left, since, curve = member.joules, 0.0, [[0.0, round(member.joules / price.full, 6)]]
        for p in plans:
            left -= price.sleep_w * (p.at - since) * fleet.speed + price.picture + p.cut * price.again
            since = p.at
            curve.append([round(p.at, 3), round(max(0.0, left) / price.full, 6)])
        end = fleet.seconds if member.dies_at is None else member.dies_at
        curve.append([round(end, 3), round((member.joules - member.spent) / price.full, 6)])
        out["charge"] = curve
    return out


def _events(fleet: Fleet) -> list[dict[str, Any]]:
    """Outages and restarts, by time."""
    out = [
        {
            "what": f"outage of {o.group or 'all groups'}, {100 * o.part:g} %",
            "from_s": o.at,
            "to_s": o.at + o.lasts,
        }
        for o in fleet.outages
    ]
    out += [{"what": "broker down", "from_s": r.at, "to_s": r.at + r.down} for r in fleet.restarts]
    return sorted(out, key=lambda e: (e["from_s"], e["what"]))


def _histogram(times: list[float], seconds: float, steps: int = 30) -> list[int]:
    out = [0] * steps
    for t in times:
        out[min(steps - 1, int(t / seconds * steps))] += 1
    return out


def _canonical(members: list[Member], plans: list[Plan]) -> bytes:
    """Text that is the same for the same draws on every machine."""
    rows: list[Any] = [
        [
            m.name,
            m.group,
            f"{m.skew_s:.9f}",
            f"{m.drift_ppm:.9f}",
            f"{m.joules:.6f}",
            f"{m.spent:.6f}",
            m.dies_at and f"{m.dies_at:.9f}",
        ]
        for m in members
    ]
    rows += [
        [p.device, f"{p.at:.9f}", p.picture, p.cut, f"{p.away_s:.9f}", [f"{d:.9f}" for d in p.delays], p.dies]
        for p in plans
    ]
    return json.dumps(rows, separators=(",", ":")).encode()
