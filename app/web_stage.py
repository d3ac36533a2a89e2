"""What stands behind the live page: broker, cloud, helper and devices as processes, and one picture at a time through them.

The stage is the pictures' owner. It hands the pixels to a device of its own (the real firmware, started for each
picture like a board that wakes), and listens: to the device's events, to everything that passes the broker, and to
the records of the two servers (`web_watch`). Cloud and helper get no pixels and have no endpoint that takes any.
"""

from __future__ import annotations

import contextlib
import json
import queue
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from blindsight.app.children import Child, DeviceProcess, Events, free_port
from blindsight.app.demo import (
    FIRMWARE,
    HEAP,
    DemoError,
    Options,
    find_micropython,
    load_pictures,
    model_files,
    start_broker,
)
from blindsight.app.site import BrokerAddress, Site
from blindsight.app.tap import Listener
from blindsight.models import zoo
from blindsight.nn.model import Model
from blindsight.offline.cursor import write_durably
from blindsight.service.engine import ingest_kind
from blindsight.wire.blocks import Mode

MODES = ("rlwe", "rlwe-sk", "aes")
LARGE = 1 << 18  # elements of all tensors of a network: from here on material is made one picture at a time
SLOW = "vgg16"  # zoo models of this name are served only when asked for: they are large
POLL_S = 0.02
Say = Callable[[dict[str, Any]], None]
Progress = Callable[[str, int, int], None]


@dataclass
class Served:
    """A model on the page; `x` uint8 (N, H, W, C) its test pictures, `y` their classes where known."""

    model: Model
    path: Path
    x: np.ndarray
    y: np.ndarray | None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        plan = self.model.plan
        return plan.height, plan.width, plan.channels

    @property
    def labels(self) -> list[str]:
        """Names of the classes."""
        plan = self.model.plan
        return list(plan.labels) or [str(i) for i in range(plan.classes)]


def load_served(name: str, pictures: Path | None) -> Served:
    """A zoo name, M.bsm or the folder of a split model, with its test pictures (a zoo model's own where none are named)."""
    path, owner = model_files(name)
    model = Model.load(owner)
    if pictures is not None or model.plan.name in zoo.names():
        return Served(model, path, *load_pictures(model, pictures))
    plan = model.plan
    return Served(model, path, np.zeros((0, plan.height, plan.width, plan.channels), np.uint8), None)


class Stage:
    """Everything that runs behind the page, from `start` until the stack it was given unwinds."""

    def __init__(self, options: Options) -> None:
        self._options, self.ingest = options, options.ingest
        self._micropython = find_micropython(options.micropython)
        if not (FIRMWARE / "main.py").is_file():
            raise DemoError(f"no firmware in {FIRMWARE}: run the demo from a checkout (`make demo`)")
        chosen = load_served(options.model, options.test_pictures)
        self.first = chosen.model.plan.name
        names = [n for n in zoo.names() if n != self.first and not n.startswith(SLOW)]
        self.served = {self.first: chosen, **{n: load_served(n, None) for n in names}}
        self._children: list[Child] = []
        self._devices: dict[tuple[str, str], Path] = {}
        self._turn = threading.Lock()

    def start(self, stack: contextlib.ExitStack, folder: Path, progress: Progress) -> None:
        """Starts broker and servers and waits for the first material."""
        progress("keys, certificates, broker", 0, 1)
        self._broker: BrokerAddress = start_broker(stack, folder, self._options)
        self._site = Site(folder / "site")
        self._site.init(self._broker, link_port=free_port(), cloud=self._ahead())
        for served in self.served.values():
            self._site.add_model(served.path)
        progress("keys, certificates, broker", 1, 1)
        self._records = {}
        for name, config in (("helper", self._site.helper_toml), ("cloud", self._site.cloud_toml)):
            record = self._records[name] = folder / f"{name}.record"
            record.touch(mode=0o600)
            command = [sys.executable, "-m", "blindsight.app.web_watch", name, "--config", str(config)]
            child = Child(name, [*command, "--record", str(record)], self._site.folder / f"{name}.log")
            stack.callback(child.stop)
            child.wait_event("started", self._options.timeout_s)
            self._children.append(child)
        self._wait_material(progress)

    def _ahead(self) -> str:
        """How much material waits for pictures: little where it is costly, and then for the chosen encryption alone."""
        large = max(sum(op.size for op in s.model.plan.ops) for s in self.served.values()) > LARGE
        kinds = ingest_kind(Mode.named(self.ingest)) if large else "mask,xor"
        low, high = (1, 2) if large else (2, 4)
        batch = 1 if large else high
        lines = {
            "material_low": low,
            "material_high": high,
            "material_batch": batch,
            "material_for": f'"{kinds}"',
        }
        return "".join(f"{key} = {value}\n" for key, value in lines.items())

    def _wait_material(self, progress: Progress) -> None:
        """Until the chosen model has its first material; the others' is made meanwhile and on demand."""
        deadline = time.monotonic() + self._options.timeout_s
        progress("offline material", 0, 1)
        while not any(
            e["event"] == "material-made" and e["model"] == self.first for e in self._children[1].events()
        ):
            time.sleep(0.1)
            for child in self._children:
                child.check()
                for event in child.events():
                    if event["level"] == "error":
                        raise DemoError(f"{child.name}: {event.get('error', event['event'])[-600:]}")
            if time.monotonic() > deadline:
                raise DemoError(f"no offline material within {self._options.timeout_s:g} s")
        progress("offline material", 1, 1)

    def classify(self, name: str, mode: str, pixels: np.ndarray, say: Say) -> None:
        """One picture's way, every event of it given to `say` as it happens; raises `DemoError` where it fails.

        pixels: uint8 (H, W, C). Events carry `t` (Unix time) and `who` (device, broker, cloud or helper); bytes in them
        stay bytes.
        """
        if not self._turn.acquire(blocking=False):
            raise DemoError("a picture is on its way already: one at a time")
        try:
            with contextlib.ExitStack() as stack:
                stack.push(lambda kind, *_: self._forget(name, mode) if kind else None)
                self._way(stack, name, mode, pixels, say)
        finally:
            self._turn.release()

    def _way(self, outer: contextlib.ExitStack, name: str, mode: str, pixels: np.ndarray, say: Say) -> None:
        served = self.served[name]
        if mode not in MODES or pixels.shape != served.shape or pixels.dtype != np.uint8:
            raise DemoError(f"a picture for {name} is uint8 {served.shape}; ingest one of {', '.join(MODES)}")
        for child in self._children:
            child.check()
        folder = self._wake(name, mode, pixels)
        inbox: queue.Queue[dict[str, Any]] = queue.Queue()
        outer.enter_context(self._listening(folder.name, inbox.put))
        records = {who: path.stat().st_size for who, path in self._records.items()}
        events: Events = queue.Queue()
        device = DeviceProcess(self._micropython, FIRMWARE, folder, events, HEAP)
        outer.callback(device.stop)
        deadline = time.monotonic() + self._options.timeout_s
        seen: set[str] = set()
        while not {"result", "exit", "cloud", "helper"} <= seen:
            moved = False
            for event in (*_drain(inbox), *self._recorded(records), *_events_of(events)):
                moved = True
                seen |= _milestone(event)
                if event.get("event") == "failure" and event.get("final"):
                    raise DemoError(f"the servers refused the picture: {event['reason']}")
                if event.get("event") == "exit" and (event["code"] or "result" not in seen):
                    raise DemoError(
                        f"the device ended with code {event['code']}: {event['error'] or 'no answer'}"
                    )
                say(event)
            if not moved:
                time.sleep(POLL_S)
                for child in self._children:
                    child.check()
            if time.monotonic() > deadline:
                raise DemoError(f"no answer within {self._options.timeout_s:g} s; --timeout allows more")

    def _wake(self, name: str, mode: str, pixels: np.ndarray) -> Path:
        """The device directory of this model and ingest mode, enrolled when first used, with one more picture to take."""
        if (name, mode) not in self._devices:
            device = f"cam-{re.sub('[^a-z0-9]', '-', name)[:16]}-{mode}"
            folder = self._site.device(
                device, name, mode, self._broker, max_pending=1, retry_s=3, retry_max_s=10
            )
            self._devices[name, mode] = folder
        folder = self._devices[name, mode]
        config = json.loads((folder / "config.json").read_text())
        config["count"] += 1  # the firmware counts its pictures over all its starts
        write_durably(folder / "config.json", json.dumps(config, indent=1).encode())
        (folder / "frames.bin").write_bytes(pixels.tobytes())
        return folder

    def _forget(self, name: str, mode: str) -> None:
        """A device whose picture failed begins anew, in its next epoch."""
        folder = self._devices.pop((name, mode), None)
        if folder is not None:
            shutil.rmtree(folder)

    @contextlib.contextmanager
    def _listening(self, device: str, put: Say) -> Iterator[None]:
        def heard(topic: str, payload: bytes) -> None:
            parts = topic.split("/")
            if len(parts) > 4 and parts[2] == device:
                way, part = parts[3], parts[5] if len(parts) > 5 else ""
                put(
                    {
                        "t": time.time(),
                        "who": "broker",
                        "event": "message",
                        "topic": topic,
                        "way": way,
                        "part": part,
                        "payload": payload,
                    }
                )

        with Listener(self._broker, heard, up_only=False):
            yield

    def _recorded(self, at: dict[str, int]) -> Iterator[dict[str, Any]]:
        """What the servers have written since; moves `at`, the place in each record, on."""
        for who, path in self._records.items():
            with open(path, "rb") as file:
                file.seek(at[who])
                data = file.read()
            whole = data.rfind(b"\n") + 1
            at[who] += whole
            for line in data[:whole].splitlines():
                yield {"who": who, **json.loads(line)}


def _drain(inbox: queue.Queue[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    with contextlib.suppress(queue.Empty):
        while True:
            yield inbox.get_nowait()


def _events_of(events: Events) -> Iterator[dict[str, Any]]:
    shift = time.time() - time.monotonic()
    with contextlib.suppress(queue.Empty):
        while True:
            _, now, event = events.get_nowait()
            yield {**event, "t": now + shift, "who": "device"}


def _milestone(event: dict[str, Any]) -> set[str]:
    if event["who"] == "device" and event["event"] in ("result", "exit"):
        return {event["event"]}
    return {event["who"]} if event["event"] == "view" else set()
