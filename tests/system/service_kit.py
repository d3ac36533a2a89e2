"""What the tests of the services stand on: a toy model, an insecure engine, brokers, processes.

`FakeEngine` computes in the clear on the cloud's side and exists in tests only; everything around it (ingest,
masks, stores, material cursors, job protocol, seals) is the product's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from leash import leashed
from postgres_kit import store_at
from service_device import Client, Device, Parcel

from blindsight.app.children import free_port
from blindsight.channel import Channel
from blindsight.helper.keys import Keys, new_master, read_master
from blindsight.helper.plans import Plans
from blindsight.nn.floatnet import FloatGraph, FloatOp
from blindsight.nn.model import Model, plan_path
from blindsight.nn.plan import Plan
from blindsight.offline.store import Store
from blindsight.service.engine import Program, ingest_kind
from blindsight.wire.blocks import Mode
from blindsight.wire.jobs import MakeMaterial, Pool

__all__ = [
    "Client",
    "Device",
    "Keys",
    "Parcel",
    "free_port",
    "read_master",
]  # what tests take from here beside its own

HERE = Path(__file__).parent
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def toy_model(folder: Path, name: str = "toy", side: int = 16, channels: int = 1, bias: int = 0) -> Path:
    """A valid model file of one linear layer; the fake engine looks at its shape alone."""
    size, shape = side * side * channels, [channels, side, side]
    ops = [
        {"op": "input", "out": "x", "shape": shape, "scale": 0},
        {"op": "reshape", "in": "x", "out": "v", "shape": [size], "scale": 0},
        {
            "op": "linear", "in": "v", "out": "y", "shape": [10], "scale": 4, "weight": "w", "bias": "b",
            "weight_bits": 8, "weight_scale": 4,
        },
        {"op": "output", "in": "y", "out": "r", "shape": [10], "scale": 4},
    ]  # fmt: skip
    plan = Plan.from_json(
        json.dumps(
            {
                "format": "blindsight-plan", "version": 1, "name": name, "labels": [], "output_scale": 4,
                "input": {
                    "height": side, "width": side, "channels": channels,
                    "pixel_format": "gray8" if channels == 1 else "rgb888",
                },
                "reveal": {"mode": "top1", "k": 1}, "deployment": "cloud-owned", "ops": ops,
            }
        )
    )  # fmt: skip
    weights = np.random.default_rng(1).integers(-100, 100, (10, size))
    biases = np.full(10, bias)
    graph = FloatGraph(
        [
            FloatOp("input", "x", (), tuple(shape)),
            FloatOp("reshape", "v", ("x",), (size,)),
            FloatOp("linear", "y", ("v",), (10,), {}, {"weight": "w", "bias": "b"}),
        ],
        {"w": weights.astype(np.float32), "b": biases.astype(np.float32)},
        (0.0,) * channels,
        (1.0,) * channels,
    )
    model = Model(plan, {"w": weights.astype(np.int16), "b": biases.astype(np.int32)}, graph)
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / f"{name}.bsm")
    return folder / f"{name}.bsm"


def label_of(pixels: bytes) -> int:
    """The stand-in for a network: a class that depends on every pixel and its place."""
    return sum((i % 251 + 1) * p for i, p in enumerate(pixels)) % 10


class FakeEngine:
    """INSECURE: the helper's ingest share goes to the cloud in the clear. Material cursors are real."""

    def __init__(self, channel: Channel, folder: Path, delay_s: float = 0.0) -> None:
        self._channel, self._folder, self._delay_s = channel, folder, delay_s
        self._stores: dict[str, Store] = {}

    def _store(self, program: Program, kind: str) -> Store:
        name = f"{program.version.hex()[:16]}-{kind}"
        if name not in self._stores:
            self._stores[name] = Store(self._folder / name, 8)
        return self._stores[name]

    def left(self, program: Program, kind: str) -> int:
        return self._store(program, kind).left

    def next(self, program: Program, kind: str) -> int:
        store = self._store(program, kind)
        return min(max(b.first, store.cursor) for b in store.batches if b.first + b.count > store.cursor)

    def end(self, program: Program, kind: str) -> int:
        return self._store(program, kind).end

    def pool(self, program: Program, kind: str) -> Pool:
        store = self._store(program, kind)
        batches = tuple((b.id, b.first, b.count) for b in store.batches)
        return Pool(program.name, program.plan.hash, program.version, kind, store.cursor, batches)

    def merge(self, program: Program, peer: Pool) -> None:
        store = self._store(program, peer.ingest)
        store.jump(peer.cursor)
        store.keep_common(list(peer.batches))

    def make(self, program: Program, request: MakeMaterial) -> None:
        slots = [(request.first + i).to_bytes(8, "little") for i in range(request.slots)]
        assert self._channel.exchange(b"made", 4).tobytes() == b"made"
        self._store(program, request.ingest).append(request.batch.hex(), request.first, slots)

    def run(self, program: Program, mode: Mode, slot: int, pixels: np.ndarray) -> np.ndarray:
        kind = ingest_kind(mode)
        data = self._store(program, kind).reserve(slot)
        assert int.from_bytes(data, "little") == slot
        with open(self._folder / f"used-{self._channel.party}.log", "a") as log:
            log.write(f"{program.version.hex()[:16]} {kind} {slot}\n")
        if self._channel.party == 1:
            self._channel.send(pixels)
            time.sleep(self._delay_s)
            return self._channel.recv(4).view(np.uint32)
        other = self._channel.recv(pixels.nbytes).view(pixels.dtype)
        if kind == "xor":
            x = (pixels ^ other).astype(np.int64)
        else:
            a, b = other.astype(np.int64), pixels.astype(np.int64)
            x = (a >> 2) - (b >> 2) - (a % 4 < b % 4) + 256 * (a < b)
        assert ((x >= 0) & (x < 256)).all()
        share = np.array([secrets.randbits(32)], np.uint32)
        self._channel.send(np.array([label_of(x.astype(np.uint8).tobytes())], np.uint32) - share)
        return share

    def close(self) -> None:
        for store in self._stores.values():
            store.close()
        self._stores.clear()


@dataclass
class FakeNetwork:
    """Enough of a network for a `Program`: it needs no material but the ingest's."""

    plan: Plan
    draws = ()
    masks: ClassVar[dict[str, int]] = {}
    linear: ClassVar[dict[str, int]] = {}


def fake_program(plan: Plan, version: bytes) -> Program:
    """A program without linear layers."""
    return Program(plan.name, version, FakeNetwork(plan), None)  # type: ignore[arg-type]


def used_slots(folder: Path) -> list[str]:
    """Every use of a slot that a party wrote down, over all restarts."""
    logs = sorted(folder.rglob("used-*.log"))
    return [
        f"{log.name} {log.parent.name} {line}" for log in logs for line in log.read_text().split("\n") if line
    ]


# --- servers


class Process:
    """A server process with its log in a file."""

    def __init__(self, command: list[str], log: Path, env: dict[str, str] | None = None) -> None:
        self.command, self.log = command, log
        self.env = {**os.environ, **(env or {})}
        self.process: subprocess.Popen[bytes] | None = None
        self._before = 0

    def start(self, env: dict[str, str] | None = None) -> Process:
        self._before = self.count("started")
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(
                leashed(self.command), stdout=out, stderr=out, env={**self.env, **(env or {})}
            )
        return self

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        assert self.process
        self.process.kill()
        self.process.wait(10)

    def wait(self, seconds: float = 90) -> int:
        assert self.process
        return self.process.wait(seconds)

    def count(self, event: str) -> int:
        """How often an event is in the log."""
        return sum(e["event"] == event for e in self.events())

    def until(self, event: str, times: int = 1, seconds: float = 60) -> None:
        """Waits until an event is in the log so often."""
        deadline = time.monotonic() + seconds
        while self.count(event) < times:
            assert time.monotonic() < deadline, f"no {event!r} in {self.log}"
            time.sleep(0.02)

    def ready(self) -> None:
        """Waits until the service last started is up: one that is still being imported does not heed
        SIGTERM yet.
        """
        self.until("started", self._before + 1)

    def stop(self) -> int:
        """SIGTERM; the exit code. One that does not heed it is killed, and `TimeoutExpired` says so."""
        if self.process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def events(self) -> list[dict[str, Any]]:
        """The JSON lines of the log."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{")]


def mosquitto(folder: Path, port: int, extra: str = "") -> Process:
    """A broker as Debian ships it, persistence on, on loopback; started and listening."""
    assert MOSQUITTO, "install mosquitto (make dev does)"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\n{extra or 'allow_anonymous true'}\npersistence true\n"
        f"persistence_location {folder}/\nuser root\nlog_dest stderr\nmax_queued_messages 0\n"
    )
    broker = Process([MOSQUITTO, "-c", str(config)], folder / "mosquitto.log").start()
    wait_port(port)
    return broker


def stop_all(*processes: Process) -> None:
    """Stops each, also when one before it does not stop."""
    with contextlib.ExitStack() as stack:
        for process in reversed(processes):
            stack.callback(process.stop)


def wait_port(port: int, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < deadline, f"nothing listens on {port}"
        time.sleep(0.05)


class Site:
    """A whole set-up in a folder: keys, models, both services as processes with the fake engine."""

    def __init__(
        self,
        folder: Path,
        broker_port: int,
        cloud_extra: str = "",
        side: int = 16,
        channels: int = 1,
        store: str = "sqlite",
    ) -> None:
        self.folder, self.broker_port = folder, broker_port
        self.model = toy_model(folder / "model", side=side, channels=channels)
        self.plan = Model.load(self.model).plan
        self.link_port = free_port()
        new_master(folder / "helper" / "master.key")
        Plans(folder / "helper" / "plans").add(plan_path(self.model))
        self._cloud_model()
        self.stores = [store_at(store, folder / who / f"{who}.db") for who in ("cloud", "helper")]
        shared = [f'store = "{s}"\n' if isinstance(s, str) else "" for s in self.stores]
        (folder / "cloud.toml").write_text(
            f'{shared[0]}data = "cloud"\nmodels = "cloud/models"\n[broker]\nport = {broker_port}\n'
            f"[helper]\nport = {self.link_port}\ntimeout_s = 10\n"
            "[workers]\nretry_s = 0.05\nretry_max_s = 0.5\nmaterial_low = 2\nmaterial_high = 4\nmaterial_batch = 4\n"
            + ('prefix = "m1-"\n' if shared[0] and "prefix" not in cloud_extra else "")
            + cloud_extra
        )
        (folder / "helper.toml").write_text(
            f'{shared[1]}data = "helper"\nplans = "helper/plans"\nmaster = "helper/master.key"\n'
            f"[listen]\nport = {self.link_port}\ntimeout_s = 10\n"
        )
        script = [sys.executable, str(HERE / "fake_service.py")]
        self.cloud = Process([*script, "cloud", str(folder / "cloud.toml")], folder / "cloud.log")
        self.helper = Process([*script, "helper", str(folder / "helper.toml")], folder / "helper.log")

    def _cloud_model(self) -> None:
        from blindsight.cloud.models import Registry

        registry = Registry(self.folder / "cloud" / "models")
        registry.activate("toy", registry.add(self.model).id.hex())

    def device(self, name: str, mode: str = "rlwe") -> Device:
        """Enrols a device."""
        register = self.register()
        try:
            return Device(register.provision(name), self.plan, mode)
        finally:
            register.close()

    def register(self) -> Keys:
        """The helper's register; close it after use."""
        return Keys(read_master(self.folder / "helper" / "master.key"), self.stores[1])

    def start(self) -> Site:
        self.helper.start()
        self.cloud.start()
        return self

    def stop(self) -> None:
        stop_all(self.cloud, self.helper)


@contextlib.contextmanager
def site(folder: Path, **options: Any) -> Iterator[tuple[Site, Process]]:
    """A started site on a started Mosquitto."""
    port = free_port()
    broker = mosquitto(folder / "broker", port)
    with contextlib.ExitStack() as stack:
        stack.callback(broker.stop)
        place = Site(folder, port, **options)
        stack.callback(place.stop)
        place.start().cloud.until("subscribed")
        yield place, broker
