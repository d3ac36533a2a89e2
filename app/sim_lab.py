"""The real servers for simulated devices: broker (restarted at will), helper, cloud, enrolment, all on loopback."""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from blindsight.app.children import Child, free_port
from blindsight.app.site import BrokerAddress, Site
from blindsight.client.identity import Identity
from blindsight.models import zoo
from blindsight.nn import floatnet
from blindsight.nn.model import Model
from blindsight.simulator.fleet import Fleet, Group, Spec
from blindsight.wire.blocks import Mode

TEST_PICTURES = 64


class FleetError(Exception):
    """The fleet could not run or did not do what it must; one line."""


class Pictures:
    """A zoo model's test pictures, and what the float network says of each."""

    def __init__(self, name: str) -> None:
        try:
            self.path = zoo.path(name)
        except KeyError as error:
            raise FleetError(str(error.args[0])) from None
        model = Model.load(self.path)
        with np.load(zoo.pictures(model.plan.name), allow_pickle=False) as data:
            x = data["x"][:TEST_PICTURES]
        self.x = x[..., None] if x.ndim == 3 else x
        self.plan = model.plan
        self.expected = [int(v) for v in floatnet.forward(model.graph, self.x).argmax(axis=1)]

    @property
    def spec(self) -> Spec:
        """For the timetable."""
        return Spec(self.plan.height, self.plan.width, self.plan.channels, len(self.x))


class Broker:
    """Mosquitto with its sessions on disk; where it is not installed the embedded one, which keeps none."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.address = BrokerAddress(port=free_port())
        self._folder = folder
        found = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
        self.name = "mosquitto" if found else "amqtt"
        port = self.address.port
        if found:
            conf = folder / "mosquitto.conf"
            user = "user root\n" if os.geteuid() == 0 else ""
            conf.write_text(
                f"{user}listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
                f"persistence true\npersistence_location {folder}/\nautosave_interval 30\n"
            )
            self._command = [found, "-c", str(conf)]
        else:
            self._command = [sys.executable, "-m", "blindsight.app.embedded", "--port", str(port)]
        self.starts = 0
        self._child: Child | None = None
        self.start()

    @property
    def pid(self) -> int:
        """0 while it is down."""
        return 0 if self._child is None else self._child.pid

    def start(self) -> None:
        """Returns when it listens."""
        child = Child("broker", self._command, self._folder / "broker.log")
        child.wait_port(self.address.port)
        self._child = child
        self.starts += 1

    def stop(self, kill: bool = False) -> None:
        """By SIGTERM, or SIGKILL."""
        child, self._child = self._child, None
        if child is not None:
            if kill:
                child.kill()
            child.stop()

    def restart(self, down_s: float, kill: bool) -> None:
        """Down for so long, and up again."""
        if self.name == "amqtt":
            raise FleetError("a broker restart needs Mosquitto: apt-get install mosquitto")
        self.stop(kill)
        time.sleep(down_s)
        self.start()


class Lab:
    """A site with the fleet's models, both servers and the broker, from `with` to its end."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.pictures = {name: Pictures(name) for name in sorted({g.model for g in fleet.groups})}
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # a waiting device holds a connection
        if soft < fleet.devices + 200:
            if hard != resource.RLIM_INFINITY and hard < fleet.devices + 200:
                raise FleetError(f"{fleet.devices} connections need ulimit -n {fleet.devices + 200}")
            resource.setrlimit(resource.RLIMIT_NOFILE, (fleet.devices + 200, hard))

    def __enter__(self) -> Lab:
        with contextlib.ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="blindsight-fleet-")))
            self.broker = Broker(self.folder / "broker")
            stack.callback(self.broker.stop)
            self.site = Site(self.folder / "site")
            fleet = self._fleet
            kinds = sorted({"xor" if g.mode is Mode.AES else "mask" for g in fleet.groups})
            workers = (
                f"count = {fleet.workers}\nmaterial_low = {min(16, fleet.ahead)}\nmaterial_high = {fleet.ahead}\n"
                f'material_for = "{",".join(kinds)}"\n'
            )
            self.site.init(self.broker.address, link_port=free_port(), cloud=workers)
            for pictures in self.pictures.values():
                self.site.add_model(pictures.path)
            self.servers: dict[str, Child] = {}
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start(self, made_within_s: float) -> None:
        """Starts the servers; returns when the material asked for is made."""
        for name, config in (("helper", self.site.helper_toml), ("cloud", self.site.cloud_toml)):
            command = [sys.executable, "-m", f"blindsight.{name}", "--config", str(config)]
            child = Child(name, command, self.site.folder / f"{name}.log")
            self._stack.callback(child.stop)
            child.wait_event("started", 60)
            self.servers[name] = child
        kinds = {(g.model, g.mode is Mode.AES) for g in self._fleet.groups}
        wanted = self._fleet.ahead * len(kinds) * self._fleet.workers
        deadline = time.monotonic() + made_within_s
        while (
            sum(e["slots"] for e in self.servers["cloud"].events() if e["event"] == "material-made") < wanted
        ):
            self.check()
            if time.monotonic() > deadline:
                raise FleetError(
                    f"no material for {wanted} pictures within {made_within_s:g} s; lower `ahead`"
                )
            time.sleep(0.1)

    def check(self) -> None:
        """Raises where a server has ended."""
        for child in self.servers.values():
            child.check()

    def enrol(self, groups: list[Group]) -> list[Identity]:
        """One device for each entry."""
        register = self.site.register()
        try:
            out = []
            for i, g in enumerate(groups):
                plan = self.pictures[g.model].plan
                p = register.provision(f"sim-{i:05d}", False)
                shape = (plan.height, plan.width, plan.channels)
                out.append(
                    Identity(p.device, p.secret, p.public_key, p.epoch, g.mode, plan.name, plan.hash, shape)
                )
            return out
        finally:
            register.close()

    def pids(self) -> Mapping[str, int]:
        """Of everything that runs."""
        return {
            **{n: c.pid for n, c in self.servers.items()},
            "broker": self.broker.pid,
            "devices": os.getpid(),
        }

    def answered(self) -> dict[str, Any]:
        """What the cloud's log says: pictures answered, and pictures answered more than once."""
        seen: dict[tuple[str, str], int] = {}
        for e in self.servers["cloud"].events():
            if e["event"] == "answered":
                key = (e["device"], e["image"])
                seen[key] = seen.get(key, 0) + 1
        return {"answered": len(seen), "twice": sum(n > 1 for n in seen.values())}


def machine() -> dict[str, Any]:
    """Where and with what something was measured."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    here = Path(__file__).resolve().parent
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True)
    commit = found.stdout.strip() or "unknown"
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit,
        "machine": f"{cpu}, {os.cpu_count()} cores",
        "load_average": round(os.getloadavg()[1], 2),
        "python": platform.python_version(),
    }
