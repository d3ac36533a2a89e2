"""`blindsight sim fleet`: many simulated devices, and some with the real firmware, against the real broker and servers."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blindsight.app.children import DeviceProcess, Events, free_port
from blindsight.app.demo import FIRMWARE, HEAP, find_micropython
from blindsight.app.sim_lab import FleetError, Lab, Pictures, machine
from blindsight.app.site import BrokerAddress
from blindsight.hw import profiles
from blindsight.simulator.cost import Cost
from blindsight.simulator.fleet import (
    Day,
    Fleet,
    Gate,
    Network,
    Outcome,
    Watch,
    draw,
    drive,
    group_cost,
    rows_csv,
    summary,
)

MATERIAL_S = 300.0
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Ran:
    """The report's object, the pictures as CSV, and what a picture costs each group's board, by the model."""

    report: dict[str, Any]
    csv: str
    costs: list[Cost]


def model_outputs(fleet: Fleet) -> dict[str, Any]:
    """What the seed decides, without running anything."""
    names = sorted({g.model for g in fleet.groups})
    return draw(fleet, {n: Pictures(n).spec for n in names}, profiles.HERE).outputs


def run(fleet: Fleet, progress: Progress | None = None, micropython: str = "") -> Ran:
    """Runs the day; `lost`: pictures without an answer at the end; `twice`: with two different answers."""
    say = progress or (lambda _: None)
    python = find_micropython(micropython) if fleet.firmware else ""
    lab = Lab(fleet)
    day = draw(fleet, {n: p.spec for n, p in lab.pictures.items()}, profiles.HERE)
    say(f"enrolling {fleet.devices} devices")
    with lab:
        who = lab.enrol([fleet.groups[m.group] for m in day.members])
        events: Events = queue.Queue()
        real = _Firmware(lab, fleet, python, events)
        say("making material")
        lab.start(MATERIAL_S)
        watch = Watch(lab.pids, max(1.0, fleet.seconds / 600))
        started = time.monotonic()
        outcomes, network, labels = asyncio.run(_run(fleet, day, lab, who, watch, real, say))
        took = time.monotonic() - started
        real.stop()
        lab.check()
        server = lab.answered()
    expected = {n: p.expected for n, p in lab.pictures.items()}
    report = {
        **machine(),
        "broker": lab.broker.name,
        "devices": fleet.devices,
        "seed": fleet.seed,
        "model": ", ".join(sorted({g.model for g in fleet.groups})),
        "ingest": ", ".join(sorted({g.ingest for g in fleet.groups})),
        **summary(fleet, day, outcomes, expected, took),
        "connections": network.connections,
        "broker_restarts": lab.broker.starts - 1,
        "outages": len(fleet.outages),
        "server": server,
        "firmware": real.report(labels),
        "rss_mb": watch.memory(),
        "cores": watch.load(),
        "memory_timeline": {"t": watch.at, **watch.rss},
        "model_outputs": day.outputs,
    }
    costs = [group_cost(g, lab.pictures[g.model].spec, profiles.HERE) for g in fleet.groups]
    return Ran(report, rows_csv(fleet, day, outcomes), costs)


class _Firmware:
    """The devices with the real firmware: their processes, and their answers against the float network's."""

    def __init__(self, lab: Lab, fleet: Fleet, python: str, events: Events) -> None:
        self._python, self._events = python, events
        self._running: list[DeviceProcess] = []
        self._models: dict[str, str] = {}
        self._folders: list[Path] = []
        self._lab = lab
        self.pictures = 0
        self.ports = {g.name: free_port() for g in fleet.groups if g.firmware}
        for g in fleet.groups:
            for i in range(g.firmware):
                count = g.each or max(1, int(g.per_day * fleet.speed * fleet.seconds / 86400))
                name = f"real-{g.name}-{i:02d}"
                x = lab.pictures[g.model].x
                folder = lab.site.device(
                    name, g.model, g.ingest, BrokerAddress(port=self.ports[g.name]), count=count, max_pending=1, retry_s=5,
                    retry_max_s=20, interval_s=int(fleet.seconds / count) if count > 1 else 0,
                )  # fmt: skip
                (folder / "frames.bin").write_bytes(b"".join(x[k % len(x)].tobytes() for k in range(count)))
                self._folders.append(folder)
                self._models[name] = g.model
                self.pictures += count

    def start(self) -> None:
        """All of them."""
        self._running = [DeviceProcess(self._python, FIRMWARE, f, self._events, HEAP) for f in self._folders]

    def stop(self) -> None:
        """All of them."""
        for device in self._running:
            device.stop()
        self._running = []

    async def answers(self, deadline: float) -> dict[tuple[str, int], int]:
        """(device, frame) -> label, until all are there or the deadline."""
        got: dict[tuple[str, int], int] = {}
        while len(got) < self.pictures and time.monotonic() < deadline:
            try:
                name, _, event = self._events.get_nowait()
            except queue.Empty:
                await asyncio.sleep(0.2)
                continue
            if event.get("event") == "result":
                got[name, int(event["frame"])] = int(event["index"])
            elif event.get("event") == "exit" and event["code"]:
                raise FleetError(f"device {name} ended with code {event['code']}: {event['error']}")
        return got

    def report(self, labels: dict[tuple[str, int], int]) -> dict[str, int]:
        """Counts."""
        agree = 0
        for (name, frame), label in labels.items():
            expected = self._lab.pictures[self._models[name]].expected
            agree += expected[frame % len(expected)] == label
        return {
            "devices": len(self._models),
            "pictures": self.pictures,
            "answered": len(labels),
            "agree": agree,
        }


async def _run(
    fleet: Fleet, day: Day, lab: Lab, who: list[Any], watch: Watch, real: _Firmware, say: Progress
) -> tuple[list[Outcome], Network, dict[tuple[str, int], int]]:
    broker = lab.broker.address
    gates = [Gate(fleet, g, broker.host, broker.port) for g in fleet.groups if g.firmware]
    for gate, port in zip(gates, real.ports.values(), strict=True):
        await gate.listen(port)
    deadline = time.monotonic() + fleet.timeout_s
    start = asyncio.get_running_loop().time()
    cuts = [asyncio.create_task(gate.run(start)) for gate in gates]
    real.start()
    answers = asyncio.create_task(real.answers(deadline))

    async def watched(network: Network, _: list[Outcome]) -> None:
        await watch.run(lambda: network.now)

    async def told(network: Network, outcomes: list[Outcome]) -> None:
        while True:
            done = sum(x.over for x in outcomes)
            up = len(network.links)
            say(f"{network.now:.0f} s: {done} of {len(outcomes)} answered, {up} connected")
            lab.check()
            await asyncio.sleep(1)

    async def restarts(network: Network, _: list[Outcome]) -> None:
        for r in sorted(fleet.restarts, key=lambda r: r.at):
            await asyncio.sleep(max(0.0, r.at - network.now))
            await asyncio.to_thread(lab.broker.restart, r.down, r.kill)

    try:
        pixels = {n: [p.tobytes() for p in pics.x] for n, pics in lab.pictures.items()}
        outcomes, network = await drive(
            fleet, day, who, pixels, broker.host, broker.port, (watched, told, restarts)
        )
        watch.sample(network.now)
        return outcomes, network, await answers
    finally:
        for task in (*cuts, answers):
            task.cancel()
        await asyncio.gather(*cuts, answers, return_exceptions=True)
        for gate in gates:
            await gate.close()


def verdict(report: dict[str, Any]) -> str:
    """One line where something was lost, answered twice or wrong; empty where all is well."""
    real = report["firmware"]
    wrong = [
        f"{report['lost']} lost" if report["lost"] else "",
        f"{report['twice'] + report['server']['twice']} answered twice"
        if report["twice"] or report["server"]["twice"]
        else "",
        f"{report['answered'] - report['agree']} answered wrongly"
        if report["agree"] < report["answered"]
        else "",
        f"{real['pictures'] - real['agree']} of the firmware's not answered or wrong"
        if real["agree"] < real["pictures"]
        else "",
    ]
    return ", ".join(w for w in wrong if w)
