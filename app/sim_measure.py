"""`blindsight sim knee|measure`: what a picture costs the servers of this machine, and where their throughput ends."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from blindsight.app.sim_lab import FleetError, Lab, machine
from blindsight.client.identity import Identity
from blindsight.hw import profiles
from blindsight.simulator.fleet import Fleet, Group, Outcome, draw, drive
from blindsight.simulator.fleet.brokerload import broker_load
from blindsight.simulator.fleet.summary import quantiles
from blindsight.simulator.fleet.watch import read

Progress = Callable[[str], None]
SERVERS = ("cloud", "helper")
MATERIAL_S = 600.0
SETTLE_S = 3.0
KEPT_UP = 0.1  # part of a step's pictures that may be unanswered at its end


class Bench:
    """A lab with devices that stay connected, one of whose days after another is run; what each cost the servers."""

    def __init__(self, lab: Lab, fleet: Fleet, who: list[Identity]) -> None:
        self._lab, self._fleet, self._who, self._seen = lab, fleet, who, 0
        self._pixels = {n: [p.tobytes() for p in pics.x] for n, pics in lab.pictures.items()}
        self.spent()

    def events(self) -> list[dict[str, Any]]:
        """What the cloud has logged since the last call."""
        all_ = self._lab.servers["cloud"].events()
        new, self._seen = all_[self._seen :], len(all_)
        return new

    def spent(self) -> dict[str, float]:
        """Processor seconds so far."""
        return {n: read(pid)[1] for n, pid in self._lab.pids().items()}

    def one(self, seed: int) -> Outcome:
        """A picture by itself."""
        return self._run(replace(self._fleet.groups[0], devices=1, each=1), 1.0, seed)[0][0]

    def step(self, pictures: int, seconds: float, seed: int) -> dict[str, Any]:
        """About `pictures` at random times within `seconds`, and until they are answered."""
        per_day = min(86400.0, 86400 * pictures / seconds / len(self._who))
        group = replace(
            self._fleet.groups[0], devices=len(self._who), each=0, duty="uniform", per_day=per_day
        )
        return self._run(group, seconds, seed)[1]

    def _run(self, group: Group, seconds: float, seed: int) -> tuple[list[Outcome], dict[str, Any]]:
        fleet = replace(self._fleet, groups=(group,), seconds=seconds, seed=seed)
        specs = {n: p.spec for n, p in self._lab.pictures.items()}
        day = draw(fleet, specs, profiles.HERE)
        before = self.spent()
        self.events()
        address = self._lab.broker.address
        start = time.monotonic()
        outcomes, _ = asyncio.run(drive(fleet, day, self._who, self._pixels, address.host, address.port))
        took = time.monotonic() - start
        self._lab.check()
        if any(x.answered is None for x in outcomes):
            raise FleetError(f"not all pictures were answered within {fleet.timeout_s:g} s")
        return outcomes, self._counts(outcomes, seconds, took, before)

    def _counts(
        self, outcomes: list[Outcome], seconds: float, took: float, before: dict[str, float]
    ) -> dict[str, Any]:
        events, after = self.events(), self.spent()
        jobs = [e["seconds"] for e in events if e["event"] == "answered"]
        made = [e for e in events if e["event"] == "material-made"]
        done = sorted(x.answered for x in outcomes if x.answered is not None)
        waits = sorted((x.answered or 0.0) - x.plan.at for x in outcomes)
        first = min((x.plan.at for x in outcomes), default=0.0)
        last = done[-1] if done else seconds
        left = sum(d > seconds for d in done)
        return {
            "offered_per_s": round(len(outcomes) / seconds, 3),
            "pictures": len(outcomes),
            "answered_per_s": round(len(outcomes) / max(last - first, 1e-9), 3),
            "backlog_at_end": left,
            "kept_up": left <= max(2, KEPT_UP * len(outcomes)),
            "latency_s": quantiles(waits),
            "pair_busy": round((sum(jobs) + sum(e["seconds"] for e in made)) / took / self._fleet.workers, 3),
            "material_on_the_way": sum(e["slots"] for e in made),
            "cores": {n: round((after[n] - before[n]) / took, 3) for n in after},
        }  # fmt: skip


def knee(
    model: str, ingest: str, rates: list[float], seconds: float, workers: int, say: Progress
) -> dict[str, Any]:
    """Throughput and latency at each offered rate, and where the servers no longer keep up."""
    fleet = _fleet(model, ingest, workers, ahead=16)
    with Lab(fleet) as lab:
        who = lab.enrol([fleet.groups[0]] * 50)
        say("making material")
        lab.start(MATERIAL_S)
        bench = Bench(lab, fleet, who)
        bench.step(5, 2, 999)  # warm
        rows = []
        for i, rate in enumerate(sorted(rates)):
            say(f"{rate:g} pictures a second for {seconds:g} s")
            rows.append(bench.step(max(1, round(rate * seconds)), seconds, i))
            if not rows[-1]["kept_up"] and sum(not r["kept_up"] for r in rows) >= 2:
                break
    kept = [r["offered_per_s"] for r in rows if r["kept_up"]]
    most = max(r["answered_per_s"] for r in rows)
    return {
        **machine(),
        "model": model,
        "ingest": ingest,
        "workers": workers,
        "broker": lab.broker.name,
        "steps": rows,
        "kept_up_to_per_s": max(kept, default=0.0),
        "most_answered_per_s": most,
        "found": any(not r["kept_up"] for r in rows),
    }


def measure(model: str, ingest: str, pictures: int, say: Progress) -> dict[str, Any]:
    """What a picture costs: seconds of a worker pair, processor seconds, material (made ahead) and its bytes on disk, and
    the broker's share. One picture at a time, so that nothing is waited for; times are the 10th percentile beside the
    median, as other work on the machine can only add.
    """
    fleet = _fleet(model, ingest, 1, ahead=min(1000, pictures + 8))
    with Lab(fleet) as lab:
        who = lab.enrol([fleet.groups[0]])
        say(f"making material for {fleet.ahead} pictures")
        lab.start(MATERIAL_S)
        bench = Bench(lab, fleet, who)
        time.sleep(SETTLE_S)  # the helper stores its half of the last batch
        made = [e for e in lab.servers["cloud"].events() if e["event"] == "material-made"]
        disk = {n: _disk(lab.site.folder / n / "material") for n in SERVERS}
        slots = sum(e["slots"] for e in made)
        made_cpu = bench.spent()  # starting up is in it
        say("pictures, one at a time")
        before, rows = bench.spent(), list[Outcome]()
        bench.events()
        began = time.monotonic()
        for i in range(pictures):
            say(f"picture {i + 1} of {pictures}")
            rows.append(bench.one(i))
        online = bench.spent()
        took = time.monotonic() - began
        idle = _idle(bench, 5.0)
        rss = {n: round(read(lab.pids()[n])[0], 1) for n in SERVERS}
        say("the broker")
        load = asyncio.run(
            broker_load(lab.broker.address.host, lab.broker.address.port, lambda: read(lab.broker.pid))
        )
        jobs = [float(e["seconds"]) for e in lab.servers["cloud"].events() if e["event"] == "answered"]
        name = lab.broker.name
    cpu = {n: (online[n] - before[n] - idle[n] * took) / len(jobs) for n in SERVERS}
    mean = statistics.fmean(jobs)
    return {
        **machine(),
        "model": model,
        "ingest": ingest,
        "shape": list(lab.pictures[model].x.shape[1:]),
        "pictures": len(jobs),
        "service_s": {
            **_spread(jobs),
            "mean": round(mean, 4),
            "cv2": round(statistics.pvariance(jobs) / mean**2, 4),
        },
        "answer_s": _spread([(x.answered or 0.0) - (x.accepted or 0.0) for x in rows]),
        "cpu_s": {n: round(max(v, 0.0), 4) for n, v in cpu.items()},
        "material_s": _spread([e["seconds"] / e["slots"] for e in made]),
        "material_cpu_s": {n: round(made_cpu[n] / slots, 4) for n in SERVERS},
        "material_bytes": {n: round(v / slots) for n, v in disk.items()},
        "rss_mb": rss,
        "link": _link(model),
        "broker": {
            "name": name,
            "message_bytes": load.size,
            "messages_s": round(load.messages_s),
            "messages_core_s": round(load.messages_core_s),
            "connection_kb": round(load.connection_kb, 2),
        },
    }


def _link(model: str) -> dict[str, Any]:
    """Bytes between the servers, of `blindsight infer`: online and for the material."""
    command = [
        sys.executable,
        "-m",
        "blindsight.app.cli",
        "infer",
        "--model",
        model,
        "--count",
        "16",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise FleetError(f"blindsight infer failed: {done.stderr.strip()[-300:]}")
    got = json.loads(done.stdout)
    return {k: got[k] for k in ("online_bytes", "offline_bytes", "rounds")}


def _fleet(model: str, ingest: str, workers: int, ahead: int) -> Fleet:
    group = Group(model=model, ingest=ingest, sleep="connected", cut=0, latency_s=0, devices=1)
    fleet = Fleet((group,), workers=workers, ahead=ahead, timeout_s=600)
    fleet.check()
    return fleet


def _idle(bench: Bench, seconds: float) -> dict[str, float]:
    """Cores that the servers keep busy with nothing to do."""
    before = bench.spent()
    time.sleep(seconds)
    after = bench.spent()
    return {n: (after[n] - before[n]) / seconds for n in after}


def _disk(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def _spread(values: list[float]) -> dict[str, float]:
    """10th percentile, median, 90th."""
    v = sorted(values)
    return {f"p{p}": round(v[min(len(v) - 1, len(v) * p // 100)], 4) for p in (10, 50, 90)}
