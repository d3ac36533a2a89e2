"""`kill -9` at every step of a picture's way: each picture is answered, each once, no slot of material twice.

A process kills itself at a planted point (between the cloud's commits, the helper's seal and the
publication), or the broker is killed from outside; whoever died is started again. The engine is the insecure
one of `service_kit`, whose material stores and cursors are the product's own.
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import service_kit as kit
from postgres_kit import server

from blindsight.wire import result

CLOUD, HELPER = "blindsight.cloud", "blindsight.helper"
POINTS = [
    ("cloud", f"{CLOUD}.store:Pictures.accept:before:1"),  # nothing committed: the broker delivers again
    ("cloud", f"{CLOUD}.ingress:BrokerLink.publish:before:1"),  # accepted, receipt not out
    ("cloud", f"{CLOUD}.jobs:Jobs.lease:after:3"),  # attempt raised (or idle: no harm)
    ("cloud", "service_kit:FakeEngine.run:before:2"),  # the helper has accepted, is about to run
    ("cloud", f"{CLOUD}.jobs:Jobs.put_share:before:2"),  # network done, share not durable
    ("cloud", f"{CLOUD}.jobs:Jobs.put_share:after:2"),  # share durable, seal not asked
    ("cloud", f"{CLOUD}.jobs:Jobs.finish:before:2"),  # sealed at the helper, not stored here
    ("cloud", f"{CLOUD}.jobs:Jobs.finish:after:2"),  # stored, not published
    ("cloud", f"{CLOUD}.store:Pictures.published:before:2"),  # published, not written down
    ("helper", f"{HELPER}.store:Store.bind:after:2"),  # bound, not accepted
    ("helper", "service_kit:FakeEngine.run:before:2"),
    ("helper", "service_kit:FakeEngine.run:after:2"),  # share in memory only
    ("helper", f"{HELPER}.store:Store.sealed:before:2"),
    ("helper", f"{HELPER}.store:Store.sealed:after:2"),  # answered durably, the cloud has not heard
]
PICTURES = 3
ON_POSTGRES = [p for p in POINTS if "Jobs.put_share:before" in p[1] or "Store.sealed:after" in p[1]]


def finish(place: kit.Site, device: kit.Device, client: kit.Client, parcels: list[kit.Parcel]) -> None:
    """Waits for every answer and checks the invariants."""
    for parcel in parcels:
        answer = client.wait(parcel, seconds=90, resend_s=1.0)
        assert answer is not None
        assert parcel.open(answer) == kit.label_of(parcel.pixels)
    time.sleep(0.3)
    for parcel in parcels:
        # At least once on the wire; after deduplication by image exactly one answer: every copy is the same bytes.
        assert len(set(client.answers[parcel.image])) == 1
    slots = kit.used_slots(place.folder)
    assert len(slots) == len(set(slots)), "a slot of material was used twice"
    stored = [e for e in place.cloud.events() if e["event"] == "answered"]
    images = [e["image"] for e in stored]
    assert len(images) == len(set(images)), "a picture was answered twice"


Stage = tuple[kit.Site, kit.Device, kit.Client]


@contextlib.contextmanager
def site_of(folder: Path, store: str) -> Iterator[Stage]:
    """One site for all planted kills: whoever is not the victim lives through them all."""
    with kit.site(folder, store=store) as (place, _broker):
        device = place.device("cam")
        client = kit.Client("cam", place.broker_port)
        yield place, device, client
        client.close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with site_of(tmp_path_factory.mktemp("kills"), "sqlite") as made:
        yield made


@pytest.fixture(scope="module")
def postgres_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with site_of(tmp_path_factory.mktemp("kills"), "postgres") as made:
        yield made


def short(value: str) -> str:
    return ".".join(value.split(".")[-2:])


@pytest.mark.parametrize(("who", "point"), POINTS, ids=short)
def test_kill_at(stage: Stage, who: str, point: str) -> None:
    kill_at(stage, who, point)


@pytest.mark.parametrize(("who", "point"), ON_POSTGRES, ids=short)
def test_kill_at_with_postgres(postgres_stage: Stage, who: str, point: str) -> None:
    kill_at(postgres_stage, who, point)


def kill_at(stage: Stage, who: str, point: str) -> None:
    """The process kills itself at the point, is started again, and every picture is answered."""
    place, device, client = stage
    victim = place.cloud if who == "cloud" else place.helper
    victim.ready()
    assert victim.stop() == 0
    starts = place.cloud.count("subscribed")
    victim.start({"BS_KILL": point})
    if who == "cloud":
        place.cloud.until("subscribed", starts + 1)
    parcels = [device.picture() for _ in range(PICTURES)]
    for parcel in parcels:
        client.send(parcel)
    assert victim.wait() == -9, "the planted point was not reached"
    victim.start()
    finish(place, device, client, parcels)


def test_kill_the_broker_before_the_receipt(tmp_path: Path) -> None:
    """Mosquitto acknowledges, then dies without saving: the device has no receipt and sends the same bytes
    again.
    """
    port = kit.free_port()
    broker = kit.mosquitto(tmp_path / "broker", port)
    place = kit.Site(tmp_path, port)
    try:
        device = place.device("cam")
        client = kit.Client("cam", port)
        parcels = [device.picture() for _ in range(PICTURES)]
        for parcel in parcels:
            client.send(parcel)
        time.sleep(0.5)  # every block is acknowledged; no cloud has ever connected
        broker.kill()
        broker.start()
        kit.wait_port(port)
        place.start()
        finish(place, device, client, parcels)
        client.close()
    finally:
        place.stop()
        broker.stop()


def test_kill_the_database(tmp_path: Path) -> None:
    """PostgreSQL is killed under both services and comes back: nothing is lost, nothing twice."""
    with kit.site(tmp_path, store="postgres") as (place, _broker):
        device = place.device("cam")
        client = kit.Client("cam", place.broker_port)
        parcels = [device.picture() for _ in range(8)]
        for i, parcel in enumerate(parcels):
            client.send(parcel)
            if i in (3, 6):
                server().stop()
                time.sleep(0.3)
                server().start()
        finish(place, device, client, parcels)
        client.close()


def test_kill_the_broker_while_answers_are_due(tmp_path: Path) -> None:
    with kit.site(tmp_path) as (place, broker):
        device = place.device("cam")
        client = kit.Client("cam", place.broker_port)
        parcels = [device.picture() for _ in range(8)]
        for i, parcel in enumerate(parcels):
            client.send(parcel)
            if i in (3, 6):
                broker.kill()
                time.sleep(0.2)
                broker.start()
                kit.wait_port(place.broker_port)
        finish(place, device, client, parcels)
        client.close()


def test_stop_is_graceful_and_resumes(tmp_path: Path) -> None:
    """SIGTERM ends both with code 0 in the middle of work; what was accepted is answered after the restart."""
    with kit.site(tmp_path) as (place, _broker):
        device = place.device("cam")
        client = kit.Client("cam", place.broker_port)
        parcels = [device.picture() for _ in range(12)]
        for parcel in parcels:
            client.send(parcel)
        client.wait(parcels[0], "receipt")
        assert place.cloud.stop() == 0
        assert place.helper.stop() == 0
        place.start()
        finish(place, device, client, parcels)
        client.close()


def test_seal_survives_and_is_the_same_bytes(tmp_path: Path) -> None:
    """The helper answers one attempt once: after both restarted, the same sealed bytes come for a repeated
    manifest.
    """
    with kit.site(tmp_path) as (place, _broker):
        device = place.device("cam")
        client = kit.Client("cam", place.broker_port)
        parcel = device.picture()
        client.send(parcel)
        first = client.wait(parcel)
        assert place.cloud.stop() == 0 and place.helper.stop() == 0
        place.start()
        client.answers.clear()
        client.client.publish(*parcel.messages()[-1], qos=1)
        again = client.wait(parcel)
        assert first == again and isinstance(result.parse(again or b""), result.Result)
        client.close()
