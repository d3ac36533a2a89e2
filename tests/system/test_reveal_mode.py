"""The owner's reveal mode, enforced by each server: a peer that departs from it is refused, at HELLO and at the result."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import service_kit as kit

from blindsight.cloud.models import Registry
from blindsight.nn.model import Model, plan_path
from blindsight.nn.plan import Plan, Reveal
from blindsight.wire.jobs import Code


def logits(model: Path, folder: Path) -> Path:
    """The same model, its plan revealing all logits."""
    made = Model.load(model)
    folder.mkdir()
    changed = folder / "toy.bsm"
    replace(made, plan=replace(made.plan, reveal=Reveal("logits", made.plan.classes))).save(changed)
    return changed


@pytest.fixture
def place(tmp_path: Path) -> Iterator[kit.Site]:
    port = kit.free_port()
    broker = kit.mosquitto(tmp_path / "broker", port)
    site = kit.Site(tmp_path, port)
    yield site
    site.stop()
    broker.stop()


def odd(site: kit.Site, role: str) -> kit.Process:
    script = [sys.executable, str(kit.HERE / "odd_service.py"), role, str(site.folder / f"{role}.toml")]
    return kit.Process(script, site.folder / f"{role}.log")


def serve_logits(site: kit.Site) -> Plan:
    """The cloud alone takes the plan that reveals logits."""
    changed = logits(site.model, site.folder / "changed")
    registry = Registry(site.folder / "cloud" / "models")
    registry.activate("toy", registry.add(changed).id.hex())
    return Model.load(changed).plan


def test_at_hello_a_plan_of_another_mode_is_not_served(place: kit.Site) -> None:
    """The helper has the plan for top1, the cloud one for logits: no hash in common, no picture is worked on."""
    place.plan = serve_logits(place)
    place.start().cloud.until("subscribed")
    place.cloud.until("helper-lacks-plan")
    device = place.device("cam")
    client = kit.Client("cam", place.broker_port)
    try:
        client.send(device.picture())
        place.cloud.until("accepted")
        place.cloud.until("helper-connected")
    finally:
        client.close()
    assert place.helper.count("ran") == place.helper.count("sealed") == 0
    assert not kit.used_slots(place.folder)


def test_a_cloud_that_asks_regardless_is_refused(place: kit.Site) -> None:
    """It lies to itself about HELLO and asks for logits: the helper runs what its own plans hold, and nothing else."""
    place.plan = serve_logits(place)
    place.cloud = odd(place, "cloud")
    place.start().cloud.until("subscribed")
    device = place.device("cam")
    client = kit.Client("cam", place.broker_port)
    try:
        parcel = device.picture()
        client.send(parcel)
        place.helper.until("refused")
    finally:
        client.close()
    refusals = [e for e in place.helper.events() if e["event"] == "refused"]
    assert all(e["code"] == 3 and "no plan of this hash" in e["detail"] for e in refusals)
    assert place.helper.count("ran") == place.helper.count("sealed") == 0
    assert not kit.used_slots(place.folder)


def test_a_helper_that_seals_another_result_is_refused(place: kit.Site) -> None:
    """Ten numbers sealed for a plan of top1: the cloud passes nothing on, the device hears that there is no result."""
    place.helper = odd(place, "helper")
    place.start().cloud.until("subscribed")
    device = place.device("cam")
    client = kit.Client("cam", place.broker_port)
    try:
        parcel = device.picture()
        client.send(parcel)
        place.cloud.until("refused-by-helper")
        answer = client.wait(parcel)
    finally:
        client.close()
    (refusal,) = [e for e in place.cloud.events() if e["event"] == "refused-by-helper"]
    assert "reveal mode" in refusal["detail"] and place.cloud.count("answered") == 0
    assert answer is None or answer[0] != 2  # a failure, not a result


def test_both_servers_keep_one_hash_a_mode(place: kit.Site) -> None:
    """The mode is in what the plan hash binds."""
    assert Model.load(logits(place.model, place.folder / "changed")).plan.hash != place.plan.hash
    assert plan_path(place.model).read_text() == place.plan.to_json() and Code.RERUN != 3
