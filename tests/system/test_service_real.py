"""The real services with the real two-party engine on real Mosquitto, killed at random moments.

Whoever is killed is started again; every picture is answered once, with the float network's label, and no
slot of material is used twice (the pools' cursors of both parties are compared at the end).
"""

import queue
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import service_kit as kit

from blindsight.app.children import DeviceProcess, Events
from blindsight.app.demo import FIRMWARE, find_micropython
from blindsight.app.site import BrokerAddress, Site
from blindsight.models import zoo
from blindsight.nn import floatnet
from blindsight.nn.model import Model
from blindsight.offline.store import stored_pools


class Real:
    """A set-up with the services as `blindsight cloud` and `blindsight helper` run them."""

    def __init__(self, folder: Path, workers: int = 1) -> None:
        self.folder, self.port = folder, kit.free_port()
        self.broker = kit.mosquitto(folder / "broker", self.port)
        self.site = Site(folder / "site")
        settings = f"count = {workers}\nmaterial_low = 2\nmaterial_high = 8\nmaterial_batch = 8\nretry_s = 0.05\nretry_max_s = 0.5\n"
        self.site.init(BrokerAddress(port=self.port), kit.free_port(), cloud=settings)
        self.site.add_model(zoo.path("mnist"))
        self.model = Model.load(zoo.path("mnist"))
        with np.load(zoo.pictures("mnist"), allow_pickle=False) as data:
            self.x = data["x"]
        self.labels = floatnet.forward(self.model.graph, self.x[..., None]).argmax(axis=1)
        self.helper = self._process("helper", self.site.helper_toml)
        self.cloud = self._process("cloud", self.site.cloud_toml)
        self.cloud.until("subscribed")

    def _process(self, name: str, config: Path) -> kit.Process:
        command = [sys.executable, "-m", f"blindsight.{name}", "--config", str(config)]
        return kit.Process(command, self.folder / f"{name}.log", {"OMP_NUM_THREADS": "1"}).start()

    def device(self, name: str, mode: str) -> kit.Device:
        register = self.site.register()
        provision = register.provision(name)
        register.close()
        return kit.Device(provision, self.model.plan, mode, 1)

    def stop(self) -> None:
        for process in (self.cloud, self.helper, self.broker):
            process.stop()


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Real]:
    place = Real(tmp_path)
    yield place
    place.stop()


def send_all(
    place: Real, device: kit.Device, client: kit.Client, numbers: range
) -> list[tuple[int, kit.Parcel]]:
    parcels = [(n, device.picture(place.x[n].tobytes())) for n in numbers]
    for _, parcel in parcels:
        client.send(parcel)
    return parcels


def check(place: Real, client: kit.Client, parcels: list[tuple[int, kit.Parcel]]) -> None:
    for n, parcel in parcels:
        answer = client.wait(parcel, seconds=90, resend_s=2)
        assert answer is not None and parcel.open(answer) == place.labels[n]
    for _, parcel in parcels:
        assert len(set(client.answers[parcel.image])) == 1


@pytest.mark.parametrize("seed", [1, 2])
def test_random_kills(real: Real, seed: int) -> None:
    rng = random.Random(seed)
    device = real.device("cam", rng.choice(["rlwe", "rlwe-sk", "aes"]))
    client = kit.Client("cam", real.port)
    parcels = send_all(real, device, client, range(8))
    for _ in range(5):
        time.sleep(rng.uniform(0.05, 1.5))
        victim = rng.choice([real.cloud, real.helper, real.broker, real.cloud, real.helper])
        victim.kill()
        time.sleep(rng.uniform(0, 0.3))
        victim.start()
        if victim is real.broker:
            kit.wait_port(real.port)
    check(real, client, parcels)
    client.close()
    for process in (real.cloud, real.helper):
        process.ready()
    assert real.cloud.stop() == 0 and real.helper.stop() == 0
    ends = [{p["pool"].split("/")[-1]: p["cursor"] for p in stored_pools(f)} for f in pools(real)]
    # Both burn a slot before its first byte: the cursors part by at most the one slot under way at a kill.
    assert ends[0].keys() == ends[1].keys() and ends[0]
    assert all(abs(ends[0][name] - ends[1][name]) <= 1 for name in ends[0])


def pools(place: Real) -> list[Path]:
    return [place.site.folder / who / "material" / "w0" for who in ("cloud", "helper")]


def test_kills_of_device_broker_cloud_and_helper(real: Real) -> None:
    """The real firmware too: one directory, many lives; every frame is answered with its label, under one
    image id each. Each further answer brings a kill, so that there is work under way whatever the machine's speed.
    """
    rng, count = random.Random(3), 16
    broker = BrokerAddress(port=real.port)
    folder = real.site.device(
        "board",
        "mnist",
        "rlwe",
        broker,
        count=count,
        max_pending=2,
        retry_s=1,
        retry_max_s=3,
        backoff_max_s=1,
    )
    (folder / "frames.bin").write_bytes(real.x[:count].tobytes())
    events: Events = queue.Queue()

    def boot() -> DeviceProcess:
        return DeviceProcess(find_micropython(""), FIRMWARE, folder, events)

    device, answers, done = boot(), {}, False
    kills = ["device", "cloud", "device", "broker", "helper", "device", "cloud", "device"]
    planned = len(kills)
    kill_at, deadline = time.monotonic() + 0.5, time.monotonic() + 120
    while not done:
        assert time.monotonic() < deadline, f"only {sorted(answers)} answered"
        if kills and len(answers) >= planned - len(kills) and time.monotonic() > kill_at:
            victim = kills.pop(0)
            if victim == "device":
                device.kill()
                device = boot()
            else:
                process = getattr(real, victim)
                process.kill()
                process.start()
            kill_at = time.monotonic() + rng.uniform(0.05, 0.4)
        try:
            _, _, event = events.get(timeout=0.1)
        except queue.Empty:
            continue
        if event["event"] == "result":
            answers.setdefault(event["frame"], set()).add((event["image"], event["index"]))
        done = event["event"] == "done"
    device.stop()
    assert not kills, "all was over before the kills"
    assert sorted(answers) == list(range(count))
    assert all(len(a) == 1 for a in answers.values()), "a frame was answered under two ids"
    assert [next(iter(answers[n]))[1] for n in range(count)] == real.labels[:count].tolist()


def test_two_worker_pairs_share_the_jobs(tmp_path: Path) -> None:
    place = Real(tmp_path, workers=2)
    try:
        device = place.device("cam", "rlwe")
        client = kit.Client("cam", place.port)
        check(place, client, send_all(place, device, client, range(16)))
        client.close()
        connected = {e["pair"] for e in place.helper.events() if e["event"] == "cloud-connected"}
        assert connected == {"w0", "w1"}
        for pair in ("w0", "w1"):
            used = stored_pools(place.site.folder / "cloud" / "material" / pair)
            assert used and used[0]["cursor"] > 0, f"pair {pair} did nothing"
    finally:
        place.stop()
