"""Messages that should not be: malformed, truncated, oversized, out of order, foreign, replayed, spliced,
tampered.

What the cloud can see it refuses; what only the helper can see the helper refuses, with a code that reaches
the device and a reason in log and metric. A good picture sent in between is always answered.
"""

import dataclasses
import os
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import service_kit as kit

from blindsight.wire import keys, manifest, result, topics
from blindsight.wire.result import FailureCode


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Site]:
    limits = "[limits]\npictures_waiting = 20\nbytes_waiting = 200000\n"
    with kit.site(tmp_path_factory.mktemp("site"), cloud_extra=limits) as (site, _broker):
        yield site


_devices = iter(range(1000))


@pytest.fixture
def pair(place: kit.Site) -> Iterator[tuple[kit.Site, kit.Device, kit.Client]]:
    """A fresh device each test, so that quotas of one do not touch another."""
    device = place.device(f"cam-{next(_devices)}")
    client = kit.Client(device.name, place.broker_port)
    yield place, device, client
    client.close()


Pair = tuple[kit.Site, kit.Device, kit.Client]


def still_works(device: kit.Device, client: kit.Client) -> None:
    parcel = device.picture()
    client.send(parcel)
    answer = client.wait(parcel)
    assert answer is not None and parcel.open(answer) == kit.label_of(parcel.pixels)


def failure(client: kit.Client, parcel: kit.Parcel) -> result.Failure:
    got = result.parse(client.wait(parcel, resend_s=60) or b"")
    assert isinstance(got, result.Failure), got
    return got


def refusals(place: kit.Site, parcel: kit.Parcel) -> list[dict[str, Any]]:
    events = place.cloud.events() + place.helper.events()
    return [e for e in events if e["event"] == "refused" and e.get("image") == parcel.image.hex()]


def test_any_order_and_repeats(pair: Pair) -> None:
    """Manifest first, blocks backwards, everything twice: one answer."""
    _, device, client = pair
    big = kit.Device(device.provision, device.plan, "rlwe", 1)
    parcel = big.picture()
    count = len(parcel.messages())
    client.send(parcel, [*reversed(range(count)), *range(count)])
    answer = client.wait(parcel)
    assert answer is not None and parcel.open(answer) == kit.label_of(parcel.pixels)


def test_nonsense_on_every_topic(pair: Pair) -> None:
    _, device, client = pair
    base, image = topics.base(device.name), os.urandom(16).hex()
    for topic in (
        f"up/{image}/0",
        f"up/{image}/65534",
        f"up/{image}/manifest",
        "status",
        f"up/{image}/x",
        f"up/{image[:-1]}/0",
    ):
        for payload in (
            b"",
            b"\x00",
            os.urandom(100),
            os.urandom(65535),
            os.urandom(70000),
            b"{}",
            b"[" * 300,
        ):
            client.client.publish(f"{base}/{topic}", payload, qos=1)
    client.client.publish(f"bs1/{'0' if base[4] != '0' else '1'}/{device.name}/up/{image}/0", b"x", qos=1)
    client.client.publish("bs1/0/other-device/up/" + image + "/0", b"x", qos=1)
    still_works(device, client)


def test_truncated_and_altered_blocks_wait_for_good_ones(pair: Pair) -> None:
    place, device, client = pair
    parcel = device.picture()
    (topic, block), manifest_message = parcel.messages()[0], parcel.messages()[-1]
    flipped = bytes([block[0] ^ 1]) + block[1:]
    for bad in (block[:-1], block + b"\x00", flipped):
        client.client.publish(topic, bad, qos=1)
        client.client.publish(*manifest_message, qos=1)
    client.client.publish(topic, block, qos=1)
    answer = client.wait(parcel)
    assert answer is not None and parcel.open(answer) == kit.label_of(parcel.pixels)
    assert any(e["reason"] == "commitment" for e in refusals(place, parcel))


def test_a_tampered_manifest_is_refused_by_the_helper(pair: Pair) -> None:
    """Every field the cloud cannot check is under the HMAC."""
    place, device, client = pair
    parcel = device.picture(key=bytes(32))
    client.send(parcel)
    got = failure(client, parcel)
    assert got.code == FailureCode.MANIFEST and "HMAC" in got.reason
    assert any(e["code"] == 1 and "HMAC" in e["detail"] for e in refusals(place, parcel) if "code" in e)
    still_works(device, client)


def test_foreign_fields_are_refused(pair: Pair) -> None:
    place, device, client = pair
    other = place.device(f"other-{next(_devices)}")
    for change, code in (
        ({"key_id": bytes(8)}, FailureCode.KEY),
        ({"key_id": manifest.parse(other.picture().manifest).key_id}, FailureCode.KEY),
        ({"model": "unknown"}, FailureCode.MODEL),
        ({"plan_hash": bytes(32)}, FailureCode.MODEL),
        ({"device": other.name}, FailureCode.MANIFEST),
    ):
        parcel = device.picture(**change)
        client.send(parcel)
        assert failure(client, parcel).code == code, change
    moved = dataclasses.replace(device.picture(), image=bytes(16))  # a manifest under another image's topic
    client.send(moved)
    assert failure(client, moved).code == FailureCode.MANIFEST
    still_works(device, client)


def test_blocks_of_another_picture_are_refused(pair: Pair) -> None:
    """The same ciphertext under a second image id, honestly signed: its c1 was seen (a reused seed leaks
    the picture).
    """
    _, device, client = pair
    seed = os.urandom(32)
    first, second = device.picture(seed=seed), device.picture(seed=seed)
    client.send(first)
    client.wait(first)
    client.send(second)
    got = failure(client, second)
    assert got.code == FailureCode.BLOCK and "c1" in got.reason


@pytest.mark.parametrize("mode", ["rlwe-sk", "aes"])
def test_a_used_seed_or_nonce_is_refused_in_the_other_modes(place: kit.Site, mode: str) -> None:
    device = place.device(f"cam-{next(_devices)}", mode)
    client = kit.Client(device.name, place.broker_port)
    seed = os.urandom(32)
    first, second = device.picture(seed=seed), device.picture(seed=seed)
    client.send(first)
    client.wait(first)
    client.send(second)
    assert failure(client, second).code == FailureCode.BLOCK
    client.close()


def test_blocks_spliced_into_another_device_are_refused(pair: Pair) -> None:
    """A device that copies another's blocks signs them with its own key: the c1 belongs to the other."""
    place, device, client = pair
    victim = place.device(f"victim-{next(_devices)}")
    theirs = victim.picture()
    sender = kit.Client(victim.name, place.broker_port)
    sender.send(theirs)
    sender.wait(theirs)
    parsed = manifest.parse(theirs.manifest)
    thief = device.picture(commitments=parsed.commitments, c1_hashes=parsed.c1_hashes)
    spliced = dataclasses.replace(thief, blocks=theirs.blocks, salt=theirs.salt)
    client.send(spliced)
    got = failure(client, spliced)
    assert got.code == FailureCode.BLOCK and "another" in got.reason
    sender.close()


def test_wrong_c1_hash_is_refused(pair: Pair) -> None:
    _, device, client = pair
    good = device.picture()
    count = len(manifest.parse(good.manifest).c1_hashes)
    parcel = device.picture(c1_hashes=tuple(bytes(32) for _ in range(count)))
    client.send(parcel)
    got = failure(client, parcel)
    assert got.code == FailureCode.BLOCK and "manifest" in got.reason


def test_a_replayed_picture_gets_the_same_bytes(pair: Pair) -> None:
    """The broker (or who recorded it) plays everything again: no second run, no second seal."""
    place, device, client = pair
    parcel = device.picture()
    client.send(parcel)
    first = client.wait(parcel)
    runs = len([e for e in place.helper.events() if e["event"] == "ran" and e["image"] == parcel.image.hex()])
    client.answers.clear()
    client.send(parcel)
    assert client.wait(parcel) == first
    again = len(
        [e for e in place.helper.events() if e["event"] == "ran" and e["image"] == parcel.image.hex()]
    )
    assert runs == again == 1


def test_another_manifest_of_an_accepted_image_changes_nothing(pair: Pair) -> None:
    place, device, client = pair
    parcel = device.picture()
    client.send(parcel)
    client.wait(parcel, "receipt")
    rival = device.picture(image=parcel.image)
    client.client.publish(*rival.messages()[-1], qos=1)
    client.client.publish(parcel.messages()[-1][0], b"no manifest at all", qos=1)
    answer = client.wait(parcel)
    assert answer is not None and parcel.open(answer) == kit.label_of(parcel.pixels)
    still_works(device, client)  # messages of one device arrive in order: the rival has been seen
    assert len(set(client.answers[parcel.image])) == 1
    assert any(e["reason"] == "conflict" for e in refusals(place, parcel) if "reason" in e)


def test_a_flooding_device_meets_its_quota(pair: Pair) -> None:
    """Blocks without manifests fill the device's own allowance and nobody else's."""
    place, device, client = pair
    for _ in range(30):
        client.client.publish(topics.block(device.name, os.urandom(16), 0), os.urandom(20000), qos=1)
    other = place.device(f"other-{next(_devices)}")
    calm = kit.Client(other.name, place.broker_port)
    still_works(other, calm)
    calm.close()
    refused = [e for e in place.cloud.events() if e["event"] == "refused" and e["reason"] == "quota"]
    assert refused and {e["device"] for e in refused} == {device.name}


def test_a_revoked_device_is_refused_and_a_draining_key_is_not(place: kit.Site) -> None:
    device = place.device("cam-rotate")
    newer = place.device("cam-rotate")
    client = kit.Client("cam-rotate", place.broker_port)
    still_works(device, client)  # the former epoch drains
    still_works(newer, client)
    register = kit.Keys(
        kit.read_master(place.folder / "helper" / "master.key"), place.folder / "helper" / "helper.db"
    )
    assert register.retire("cam-rotate") == 1
    parcel = device.picture()
    client.send(parcel)
    assert failure(client, parcel).code == FailureCode.KEY
    still_works(newer, client)
    assert register.revoke("cam-rotate") == 1
    register.close()
    parcel = newer.picture()
    client.send(parcel)
    assert failure(client, parcel).code == FailureCode.KEY
    client.close()


def test_nothing_secret_in_logs_and_ciphertexts_go_with_the_answer(pair: Pair) -> None:
    """Pixels are nowhere on disk; keys, salt and nonce are in no log; answered blocks are gone from the
    store's file.
    """
    place, device, client = pair
    pixels = b"the picture that nobody may see!" * 8
    parcel = device.picture(pixels=pixels)
    client.send(parcel)
    client.wait(parcel)
    assert place.cloud.stop() == 0 and place.helper.stop() == 0
    logs = place.cloud.log.read_bytes() + place.helper.log.read_bytes()
    secret = device.provision.secret
    for value in (
        secret,
        parcel.salt,
        parcel.result_key,
        keys.manifest_key(secret),
        keys.result_base(secret),
    ):
        assert value not in logs and value.hex().encode() not in logs
    for file in (p for p in place.folder.rglob("*") if p.is_file()):
        data = file.read_bytes()
        assert pixels[:16] not in data, file
        if file.name.startswith("cloud.db"):
            assert parcel.blocks[0] not in data and parcel.blocks[0][:64] not in data, file
            assert file.stat().st_mode & 0o077 == 0
    db = sqlite3.connect(place.folder / "cloud" / "cloud.db")
    rows = db.execute(
        "SELECT count(*) FROM pictures WHERE state = 'answered' AND salt IS NOT NULL"
    ).fetchone()
    db.close()
    assert rows == (0,)
    place.start()
