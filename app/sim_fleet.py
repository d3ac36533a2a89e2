"""`blindsight sim fleet`: many simulated devices, and some with the real firmware, against the real broker and servers."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import resource
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from blindsight.app.children import Child, DeviceProcess, Events, free_port
from blindsight.app.demo import FIRMWARE, HEAP, find_micropython
from blindsight.app.site import BrokerAddress, Site
from blindsight.models import zoo
from blindsight.nn import floatnet
from blindsight.nn.model import Model
from blindsight.simulator.fleet import Faults, Identity, Outcome, drive, schedule
from blindsight.wire.blocks import Layout, Mode


class FleetError(Exception):
    """The fleet could not run or did not do what it must; one line."""


@dataclass(frozen=True)
class Options:
    """What the command line says. `firmware`: devices that run the real firmware, beside the simulated ones."""

    devices: int = 100
    each: int = 1
    seconds: float = 60.0
    model: str = "mnist"
    ingest: str = "rlwe"
    firmware: int = 1
    seed: int = 0
    cut: float = 0.05
    latency_s: float = 0.02
    timeout_s: float = 600.0
    micropython: str = ""

    def check(self) -> None:
        """FleetError for what makes no sense."""
        if not (1 <= self.devices <= 10000 and 1 <= self.each <= 64 and 0 <= self.firmware <= 32):
            raise FleetError("1 to 10000 devices, 1 to 64 pictures of each, at most 32 with the firmware")
        if not (
            self.seconds >= 1 and self.timeout_s >= 1 and 0 <= self.cut <= 1 and 0 <= self.latency_s <= 10
        ):
            raise FleetError("seconds and timeout_s are at least 1, cut 0 to 1, latency_s 0 to 10")


def run(o: Options) -> dict[str, Any]:
    """The report's object. `lost`: pictures without an answer at the end; `twice`: with two different answers."""
    micropython = find_micropython(o.micropython) if o.firmware else ""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # a waiting device holds a connection
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))
    path = zoo.path(o.model)
    model = Model.load(path)
    with np.load(zoo.pictures(model.plan.name), allow_pickle=False) as data:
        x = data["x"][:64]
    x = x[..., None] if x.ndim == 3 else x
    expected = [int(v) for v in floatnet.forward(model.graph, x).argmax(axis=1)]
    plan, mode = model.plan, Mode.named(o.ingest)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="blindsight-fleet-")))
        broker, name = _broker(stack, folder)
        site = Site(folder / "site")
        kind = "xor" if mode is Mode.AES else "mask"
        site.init(
            broker, link_port=free_port(), cloud=f'material_low = 1\nmaterial_high = 16\nmaterial_for = "{kind}"\n'
        )  # fmt: skip
        site.add_model(path)
        who = _enrol(site, o.devices, mode, plan)
        real = [
            site.device(f"real-{i:02d}", plan.name, o.ingest, broker, count=o.each, max_pending=1, retry_s=10)
            for i in range(o.firmware)
        ]
        servers = _servers(stack, site)
        faults = Faults(o.cut, o.latency_s)
        shape = (plan.height, plan.width, plan.channels)
        messages = Layout(mode, int(np.prod(shape)), 4).blocks + 1
        plans = schedule(o.seed, o.devices, o.seconds, len(x), o.each, faults, messages)
        events: Events = queue.Queue()
        before = [_rss(c) for c in servers]
        start = time.monotonic()
        for device in real:
            (device / "frames.bin").write_bytes(b"".join(x[i].tobytes() for i in range(o.each)))
            stack.callback(DeviceProcess(micropython, FIRMWARE, device, events, HEAP).stop)
        pixels = [p.tobytes() for p in x]
        outcomes = asyncio.run(drive(plans, who, pixels, broker.host, broker.port, o.timeout_s))
        labels = _firmware(events, o.firmware * o.each, start + o.timeout_s)
        took = time.monotonic() - start
        for child in servers:
            child.check()
        after = [_rss(c) for c in servers]
    report = _report(o, outcomes, expected, took)
    report["firmware"] = {
        "devices": o.firmware, "pictures": o.firmware * o.each, "answered": len(labels),
        "agree": sum(got == expected[frame] for frame, got in labels),
    }  # fmt: skip
    report["rss_mb"] = {
        n: {"start": round(a / 1e6, 1), "end": round(b / 1e6, 1)}
        for n, a, b in zip(("helper", "cloud"), before, after, strict=True)
    }
    return {"broker": name, **report}


def _broker(stack: contextlib.ExitStack, folder: Path) -> tuple[BrokerAddress, str]:
    broker = BrokerAddress(port=free_port())
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if found:
        conf = folder / "mosquitto.conf"
        conf.write_text(f"listener {broker.port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
        command, name = [found, "-c", str(conf)], "mosquitto"
    else:
        command, name = [sys.executable, "-m", "blindsight.app.embedded", "--port", str(broker.port)], "amqtt"
    child = Child("broker", command, folder / "broker.log")
    stack.callback(child.stop)
    child.wait_port(broker.port)
    return broker, name


def _enrol(site: Site, count: int, mode: Mode, plan: Any) -> list[Identity]:
    register = site.register()
    try:
        out = []
        for i in range(count):
            p = register.provision(f"sim-{i:05d}", False)
            shape = (plan.height, plan.width, plan.channels)
            out.append(Identity(p.device, p.secret, p.public_key, p.epoch, mode, plan.name, plan.hash, shape))
        return out
    finally:
        register.close()


def _servers(stack: contextlib.ExitStack, site: Site) -> list[Child]:
    out = []
    for name, config in (("helper", site.helper_toml), ("cloud", site.cloud_toml)):
        child = Child(
            name,
            [sys.executable, "-m", f"blindsight.{name}", "--config", str(config)],
            site.folder / f"{name}.log",
        )
        stack.callback(child.stop)
        child.wait_event("started", 30)
        out.append(child)
    return out


def _rss(child: Child) -> int:
    """Resident bytes of a server process."""
    pages = Path(f"/proc/{child._process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


def _firmware(events: Events, wanted: int, deadline: float) -> list[tuple[int, int]]:
    """(frame, label) of the real devices' answers."""
    got: dict[tuple[str, int], int] = {}
    while len(got) < wanted and time.monotonic() < deadline:
        with contextlib.suppress(queue.Empty):
            name, _, event = events.get(timeout=0.5)
            if event.get("event") == "result":
                got[name, int(event["frame"])] = int(event["index"])
            elif event.get("event") == "exit" and event["code"]:
                raise FleetError(f"device {name} ended with code {event['code']}: {event['error']}")
    return [(frame, label) for (_, frame), label in got.items()]


def _report(o: Options, outcomes: list[Outcome], expected: list[int], took: float) -> dict[str, Any]:
    answered = [x for x in outcomes if x.answered is not None]
    waits = sorted(x.answered - x.plan.at for x in answered if x.answered is not None)
    failures = sorted({x.failure for x in outcomes if x.failure})
    return {
        "devices": o.devices,
        "seed": o.seed,
        "ingest": o.ingest,
        "model": o.model,
        "pictures": len(outcomes),
        "cut": sum(x.plan.cut for x in outcomes),
        "accepted": sum(x.accepted is not None for x in outcomes),
        "answered": len(answered),
        "agree": sum(x.label == expected[x.plan.picture] for x in answered),
        "lost": len(outcomes) - len(answered),
        "twice": sum(len(x.answers) > 1 for x in outcomes),
        "failures": failures,
        "seconds": round(took, 2),
        "offered_per_s": round(len(outcomes) / o.seconds, 3),
        "answered_per_s": round(len(answered) / max(took, 1e-9), 3),
        "latency_s": {f"p{int(100 * q)}": _quantile(waits, q) for q in (0.5, 0.95, 0.99)},
        "timeline": _timeline(outcomes, took),
    }


def _quantile(values: list[float], q: float) -> float | None:
    return round(values[min(len(values) - 1, int(q * len(values)))], 3) if values else None


def _timeline(outcomes: list[Outcome], took: float, steps: int = 60) -> list[dict[str, float]]:
    """Pictures taken and not yet answered, and answers so far, at even times."""
    out = []
    for i in range(steps + 1):
        t = took * i / steps
        taken = sum(x.plan.at <= t for x in outcomes)
        done = sum(x.answered is not None and x.answered <= t for x in outcomes)
        out.append({"t": round(t, 2), "backlog": taken - done, "answered": done})
    return out
