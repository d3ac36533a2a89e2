"""Back-pressure, quarantine, retention: what the cloud does when there is too much, and what it leaves behind."""

import dataclasses
import queue
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import service_kit as kit
from tls_kit import command

from blindsight.cloud import ingress as module
from blindsight.cloud.config import CloudConfig, Limits, Workers
from blindsight.cloud.ingress import Ingress
from blindsight.cloud.jobs import Jobs
from blindsight.cloud.pools import Pools
from blindsight.cloud.store import Pictures
from blindsight.nn.model import Model
from blindsight.service.config import load
from blindsight.service.database import StoreFault
from blindsight.service.engine import Program
from blindsight.service.logs import Log
from blindsight.service.metrics import Metrics
from blindsight.wire import jobs
from blindsight.wire.result import FailureCode


def test_a_backlog_holds_devices_back_and_is_worked_off(tmp_path: Path) -> None:
    """The helper is away: the cloud accepts some pictures, then reads no more; with the helper back all are
    answered.
    """
    limits = "[limits]\nbacklog = 4\n"
    with kit.site(tmp_path, cloud_extra=limits) as (place, _broker):
        device = place.device("cam")
        place.cloud.until("helper-connected")
        place.helper.ready()
        assert place.helper.stop() == 0
        client = kit.Client("cam", place.broker_port)
        parcels = [device.picture() for _ in range(12)]
        for parcel in parcels:
            client.send(parcel)
            time.sleep(0.1)
        place.cloud.until("held-back")
        time.sleep(1)
        accepted = place.cloud.count("accepted")
        assert 4 <= accepted < 12 and len(client.receipts) <= accepted
        place.helper.start()
        for parcel in parcels:
            answer = client.wait(parcel, seconds=60)
            assert answer is not None and parcel.open(answer) == kit.label_of(parcel.pixels)
        assert place.cloud.count("taking-again") >= 1
        client.close()


def test_ciphertexts_leave_the_files_soon(tmp_path: Path) -> None:
    """Seconds after the answer, with the service running on, neither the database nor its log has a block's bytes."""
    with kit.site(tmp_path) as (place, _broker):
        device = place.device("cam")
        client = kit.Client("cam", place.broker_port)
        parcels = [device.picture() for _ in range(3)]
        for parcel in parcels:
            client.send(parcel)
        for parcel in parcels:
            client.wait(parcel)
        words = [b[:48] for p in parcels for b in p.blocks] + [p.salt for p in parcels]
        deadline = time.monotonic() + 30
        while True:
            data = b"".join(f.read_bytes() for f in (tmp_path / "cloud").glob("cloud.db*"))
            if not any(word in data for word in words):
                break
            assert time.monotonic() < deadline, "ciphertext stays in the files"
            time.sleep(0.5)
        assert place.cloud.process is not None and place.cloud.process.poll() is None
        client.close()


class Message:
    """An arrival that counts its acknowledgements."""

    def __init__(self, topic: str, payload: bytes) -> None:
        self.topic, self.payload, self.acks = topic, payload, 0

    def ack(self) -> None:
        self.acks += 1


@pytest.fixture
def ingress(tmp_path: Path) -> Any:
    site = kit.Site(tmp_path, 1)
    config = dataclasses.replace(load(CloudConfig, tmp_path / "cloud.toml"), limits=Limits(disk_free_bytes=1))
    made = Ingress(config, lambda *_: None, threading.Event(), Metrics("cloud"), Log("cloud"))
    return site, made


def test_a_poisonous_message_goes_to_quarantine(
    ingress: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that meets a defect of ours is kept for a person and acknowledged; the rest of its batch lives."""
    _, made = ingress
    apply = module.Assembler.apply

    def broken(self: Any, db: Any, topic: str, payload: bytes) -> None:
        if payload == b"poison":
            raise ZeroDivisionError("a defect")
        apply(self, db, topic, payload)

    monkeypatch.setattr(module.Assembler, "apply", broken)
    pictures = Pictures(tmp_path / "cloud" / "cloud.db")
    assembler = module.Assembler(pictures, lambda *_: None, Limits(), made._metrics, made._log)
    topic = f"bs1/{kit_shard('cam')}/cam/up/{'0' * 32}/"
    batch = [Message(topic + "0", b"good"), Message(topic + "1", b"poison"), Message(topic + "2", b"good")]
    with pytest.raises(ZeroDivisionError):
        made._commit(pictures, assembler, batch)
    made._one_by_one(pictures, assembler, batch)
    assert [m.acks for m in batch] == [1, 1, 1]
    assert pictures.count_blocks("cam", bytes(16)) == 2
    (row,) = pictures.quarantined()
    assert row["payload"] == b"poison" and "ZeroDivisionError" in row["error"]
    pictures.close()
    config = tmp_path / "cloud.toml"
    assert '"quarantined": 1' in command("store", "status", "--config", config, "--json")
    assert "6 bytes: ZeroDivisionError" in command("store", "quarantine", "--config", config, "--release")
    assert "0 messages" in command("store", "quarantine", "--config", config)


def kit_shard(device: str) -> str:
    from blindsight.wire.keys import shard

    return shard(device)


@pytest.mark.parametrize("goes", ["finished", "failed", "expired", "quarantine", "by another process"])
def test_what_is_deleted_leaves_the_files_while_the_broker_is_away(
    ingress: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, goes: str
) -> None:
    """Nothing is published, so nothing but the deletion itself can have the write-ahead log emptied."""
    _, made = ingress
    monkeypatch.setattr(module, "LOOK_S", 0.1)
    monkeypatch.setattr(module, "PURGE_S", 0.1)
    made._config = dataclasses.replace(made._config, limits=Limits(assembling_s=2))
    store, image, block = tmp_path / "cloud" / "cloud.db", bytes(16), b"a ciphertext's own bytes"
    pictures, leases = Pictures(store), Jobs(store)  # stay open: closing the last would empty the log
    if goes == "quarantine":
        pictures.quarantine("topic", block, "a defect")
    else:
        with pictures.database.transaction() as db:
            pictures.put_block(db, "cam", image, 0, block)
            if goes != "expired":
                pictures.put_manifest(db, "cam", image, b"m", bytes(32), bytes(32), ("toy", bytes(32)))
                pictures.accept(db, "cam", image)

    def there() -> bool:
        return any(block in f.read_bytes() for f in store.parent.glob("cloud.db*"))

    outbox = made._threads[1]
    outbox.start()
    time.sleep(0.5)
    assert there()
    if goes in ("finished", "failed", "by another process"):
        job = leases.lease("w0", 60, {"toy": {bytes(32)}})
        assert job is not None
        if goes == "failed":
            leases.fail(job, FailureCode.GAVE_UP, "")
        else:
            assert leases.put_share(job, "w0", b"share", 0) and leases.finish(job, b"sealed")
        if goes != "by another process":
            made.due.set()  # as the worker does
    deadline = time.monotonic() + 10
    while there():
        assert time.monotonic() < deadline, "it stays in the files"
        time.sleep(0.05)
    made._stop.set()
    outbox.join(5)
    leases.close()
    pictures.close()


def test_a_full_disk_is_noticed_before_it_is_full(ingress: Any, tmp_path: Path) -> None:
    _, made = ingress
    pictures = Pictures(tmp_path / "cloud" / "cloud.db")
    assert made._pressure(pictures) == ""
    made._config = dataclasses.replace(made._config, limits=Limits(disk_free_bytes=1 << 60))
    assert made._pressure(pictures) == "disk"
    pictures.close()


def test_a_store_that_does_not_open_is_tried_again(ingress: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk as the service starts: writer and outbox wait for it rather than end unseen; a stop ends the wait."""
    _, made = ingress
    plain, tries = module.Pictures, []

    def late(place: Path) -> Any:
        tries.append(place)
        if len(tries) < 3:
            raise StoreFault("database or disk is full")
        return plain(place)

    monkeypatch.setattr(module, "Pictures", late)
    monkeypatch.setattr(made._stop, "wait", lambda seconds: made._stop.is_set())
    pictures = made._open()
    assert pictures is not None and len(tries) == 3
    pictures.close()
    made._stop.set()
    assert made._open() is None


def test_a_flood_does_not_hold_up_the_stop(ingress: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection's thread waits for room in a full queue; once the writer has ended there never is any."""
    _, made = ingress
    made._arrivals = queue.Queue(4)
    for call in ("start", "stop"):
        monkeypatch.setattr(made.link, call, lambda: None)
    flooding = threading.Event()
    flooding.set()

    def flood() -> None:
        while flooding.is_set():
            made._arrived(Message("no topic of ours", b""))

    thread = threading.Thread(target=flood, daemon=True)
    made.start()
    thread.start()
    time.sleep(0.5)
    started = time.monotonic()
    made.stop()
    assert time.monotonic() - started < 15
    flooding.clear()
    thread.join(15)
    assert not thread.is_alive()


class Obliging:
    """A channel to a helper that accepts whatever is asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def send_control(self, message: dict[str, Any]) -> None:
        self.asked.append(message)

    def recv_control(self) -> dict[str, Any]:
        return self.asked[-1] if self.asked[-1]["op"] == "pool" else jobs.ACCEPT


class Counting:
    """An engine whose material is a number."""

    def __init__(self) -> None:
        self.slots = 0

    def left(self, *_: Any) -> int:
        return self.slots

    end = left

    def pool(self, program: Program, kind: str) -> jobs.Pool:
        return jobs.Pool(program.name, program.plan.hash, program.version, kind, 0, ())

    def merge(self, *_: Any) -> None: ...

    def make(self, _: Program, request: jobs.MakeMaterial) -> None:
        self.slots += request.slots


@pytest.mark.parametrize(("mebibytes", "together"), [(0, 16), (200, 10), (3000, 1)])
def test_a_large_network_makes_fewer_slots_together(tmp_path: Path, mebibytes: int, together: int) -> None:
    """A batch is held in memory whole: 2 GiB of it, never `material_batch` slots of whatever size."""
    plan = Model.load(kit.toy_model(tmp_path)).plan
    program = kit.fake_program(plan, bytes(32))
    if mebibytes:
        program.network.masks = {"x": mebibytes << 18}  # the helper's, 4 bytes each
    channel, engine = Obliging(), Counting()
    pools = Pools(channel, engine, Workers(), Metrics("cloud"), Log("cloud"))  # type: ignore[arg-type]
    assert pools.fill(program, "mask", 20) == 20
    made = [m["slots"] for m in channel.asked if m["op"] == "material"]
    assert max(made) == together and sum(made) == 20


def test_a_flood_of_refusals_fills_counters_and_not_the_log() -> None:
    from blindsight.cloud.assemble import Said

    said = Said(of_one=3, of_all=5)
    assert [said.enough("a") for _ in range(5)] == [False, False, False, True, True]
    assert [said.enough(d) for d in ("b", "c")] == [True, True]  # of all: five were enough
