"""`blindsight.client` and `blindsight send` against real Mosquitto and both services as processes."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
sys.path.insert(0, str(Path(__file__).parent))
import service_kit as kit
from proxy import Proxy, mqtt_packet
from tls_kit import Place

from blindsight.app import certificates
from blindsight.app.site import BrokerAddress, Site
from blindsight.client import Broker, Client, ClientError, NoAnswer, Refused
from blindsight.client.encrypt import encrypt
from blindsight.client.identity import load
from blindsight.client.state import State, parse
from blindsight.wire import result, topics


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Site]:
    with kit.site(tmp_path_factory.mktemp("site")) as (site, _broker):
        yield site


def enrol(place: kit.Site, name: str, mode: str = "rlwe", **settings: Any) -> Path:
    """A device directory as `blindsight keys device` writes it."""
    broker = BrokerAddress(port=place.broker_port)
    provision = place.device(name).provision
    return Site(place.folder / "site").write_device(provision, place.plan, mode, broker, settings)


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, 16, 16), dtype=np.uint8))


@pytest.mark.parametrize("mode", ["rlwe", "rlwe-sk", "aes"])
def test_one_picture_and_many_at_once(place: kit.Site, mode: str) -> None:
    folder = enrol(place, f"pc-{mode}", mode)

    async def run() -> None:
        async with Client(folder) as client:
            (one,) = pictures(1)
            answer = await client.classify(one, 30)
            assert answer.index == kit.label_of(one.tobytes()) and answer.attempt >= 1
            many = pictures(20, 1)
            answers = await asyncio.gather(*(client.classify(p, 60) for p in many))
            assert [a.index for a in answers] == [kit.label_of(p.tobytes()) for p in many]
            assert len({a.image for a in answers}) == 20
            assert client.pending == []

    asyncio.run(run())
    assert list((folder / "sent").iterdir()) == []


def test_ids_and_seeds_are_never_used_twice(place: kit.Site) -> None:
    """Ten lives on one directory: the boot counter rises, equal pictures give unequal c1."""
    folder = enrol(place, "pc-lives")
    boots, heads = [], []
    for _ in range(10):
        state = State(folder)
        who, _broker = load(folder)
        parcel = encrypt(who, state.boot, bytes(256))
        boots.append(int.from_bytes(parcel.image[:8], "big"))
        heads.append(parcel.messages[0][1][:2304])
        state.close()
    assert boots == list(range(1, 11)) and len(set(heads)) == 10


def test_a_damaged_counter_and_a_second_process_are_refused(place: kit.Site) -> None:
    folder = enrol(place, "pc-counter")
    state = State(folder)
    with pytest.raises(ClientError, match="in use by another process"):
        State(folder)
    state.close()
    (folder / "boot.1").write_text("{")
    with pytest.raises(ClientError, match="boot counter is damaged"):
        State(folder)


def test_cuts_lose_and_repeat_nothing(place: kit.Site) -> None:
    """The broker connection breaks over and over while pictures are on their way; the cloud sees each one once, with
    the same bytes however often they came.
    """
    folder = enrol(place, "pc-cut", polys_per_block=1)
    proxy = Proxy(place.broker_port, mqtt_packet)

    async def run() -> None:
        broker = Broker("127.0.0.1", proxy.port)
        async with Client(folder, broker, retry_s=0.5, retry_max_s=2) as client:
            many = pictures(12, 2)
            tasks = [asyncio.create_task(client.classify(p, 90)) for p in many]
            for _ in range(6):
                await asyncio.sleep(0.25)
                proxy.cut(0.1)
            answers = await asyncio.gather(*tasks)
            assert [a.index for a in answers] == [kit.label_of(p.tobytes()) for p in many]
            accepted = [e["image"] for e in place.cloud.events() if e["event"] == "accepted"]
            assert sorted(a.image for a in answers) == sorted(
                i for i in accepted if i in {a.image for a in answers}
            )

    try:
        asyncio.run(run())
    finally:
        proxy.close()


def test_an_answer_awaited_by_the_next_process(place: kit.Site) -> None:
    """The caller's patience ends while the cloud is away; a later process asks for the same picture."""
    folder = enrol(place, "pc-later")
    (picture,) = pictures(1, 3)
    place.helper.stop()

    async def first() -> None:
        async with Client(folder, retry_s=0.3) as client:
            with pytest.raises(NoAnswer, match=r"resume\(\)"):
                await client.classify(picture, 1.5)

    async def second() -> int:
        async with Client(folder, retry_s=0.3) as client:
            (image,) = client.pending
            return (await client.resume(image, 60)).index

    try:
        asyncio.run(first())
        (kept,) = (folder / "sent").iterdir()
        assert kept.stat().st_mode & 0o077 == 0
        data = kept.read_bytes()
        assert picture.tobytes()[:32] not in data
        assert parse(data)[1], "accepted: only the manifest is kept"
    finally:
        place.helper.start()
    assert asyncio.run(second()) == kit.label_of(picture.tobytes())


def test_cancelling_gives_the_picture_up(place: kit.Site) -> None:
    folder = enrol(place, "pc-cancel")

    async def run() -> None:
        async with Client(folder) as client:
            sent = asyncio.Event()
            client._event = lambda kind, _image: sent.set() if kind == "sent" else None
            task = asyncio.create_task(client.classify(pictures(1, 4)[0]))
            await sent.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert client.pending == []
            (other,) = pictures(1, 5)
            assert (await client.classify(other, 30)).index == kit.label_of(other.tobytes())

    asyncio.run(run())


def test_what_is_not_an_answer_changes_nothing(place: kit.Site) -> None:
    """Receipts of other manifests, results under other keys, noise: a stand-in for a lying cloud speaks first."""
    folder = enrol(place, "pc-lies")

    async def run() -> None:
        async with Client(folder) as client:
            (picture,) = pictures(1, 6)

            def lie(kind: str, image: str) -> None:
                if kind != "sent":
                    return
                topic = topics.down("pc-lies", bytes.fromhex(image))
                forged = result.Result(1, result.Reveal.TOP1, np.array([3], np.uint32), os.urandom(44))
                for payload in (
                    b"",
                    b"\x02",
                    os.urandom(60),
                    result.Receipt(bytes(32)).encode(),
                    forged.encode(),
                ):
                    client._message(topic, payload, False)

            client._event = lie
            assert (await client.classify(picture, 30)).index == kit.label_of(picture.tobytes())

    asyncio.run(run())


def test_refusals_are_one_clear_line(place: kit.Site, tmp_path: Path) -> None:
    folder = enrol(place, "pc-refused", plan_hash="00" * 32)

    async def run(picture: Any, **options: Any) -> None:
        async with Client(folder, **options) as client:
            await client.classify(picture, 20)

    with pytest.raises(Refused, match=r"no model toy .*\(code 3\)"):
        asyncio.run(run(pictures(1)[0]))
    with pytest.raises(ClientError, match=r"takes uint8 \(16, 16, 1\)"):
        asyncio.run(run(np.zeros((8, 8), np.uint8)))
    nobody = Broker("127.0.0.1", kit.free_port())
    with pytest.raises(ClientError, match=r"no connection to broker 127\.0\.0\.1"):
        asyncio.run(run(pictures(1)[0], broker=nobody, connect_s=1.5))
    with pytest.raises(ClientError, match="needs TLS"):
        Broker("broker.example", 1883)
    (folder / "secret.bin").chmod(0o644)
    with pytest.raises(ClientError, match="chmod 600"):
        Client(folder)
    with pytest.raises(ClientError, match="blindsight keys device"):
        Client(tmp_path / "none")


def send(*arguments: str) -> tuple[int, dict[str, Any], str]:
    command = [sys.executable, "-m", "blindsight.app.cli", "send", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    lines = done.stdout.splitlines()
    assert len(lines) == (1 if lines else 0)
    return done.returncode, json.loads(lines[0]) if lines else {}, done.stderr


def test_the_command(place: kit.Site, tmp_path: Path) -> None:
    folder = enrol(place, "pc-command")
    x = np.stack(pictures(3, 7))
    expected = [kit.label_of(p.tobytes()) for p in x]
    np.savez(tmp_path / "x.npz", x=x, y=np.array(expected))
    Image.fromarray(x[0]).save(tmp_path / "one.png")
    code, out, err = send(str(tmp_path / "x.npz"), str(tmp_path / "one.png"), "--identity", str(folder))
    assert code == 0, err
    assert out["top1"] == [*expected, expected[0]] and out["accuracy"] == 1.0
    assert out["count"] == out["answered"] == 4 and out["results"][3]["picture"] == "one.png"
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    code, out, err = send(str(tmp_path / "bad.png"), "--identity", str(folder))
    assert code == 1 and err.count("\n") == 1 and "not a picture" in err


@pytest.mark.parametrize("identity", ["certificate", "password"])
def test_over_tls_with_an_account(tmp_path: Path, identity: str) -> None:
    """Brokers as `blindsight broker config` sets them up, directories as `blindsight keys device` writes them."""
    site = Place(tmp_path, identity)
    folder, other = (site.site.folder / "devices" / name for name in ("cam-1", "cam-2"))
    own, theirs = load(folder)[1], load(other)[1]
    (picture,) = pictures(1, 8)

    async def run(broker: Broker | None = None, timeout: float = 40) -> int:
        async with Client(folder, broker, connect_s=5) as client:
            return (await client.classify(picture, timeout)).index

    try:
        assert own.ca is not None and (own.certificate is None) == (identity == "password")
        assert asyncio.run(run()) == kit.label_of(picture.tobytes())
        nobody = replace(own, certificate=None, key=None, user=None, password=None)
        with pytest.raises(ClientError, match="no connection to broker"):
            asyncio.run(run(nobody))
        certificates.make(tmp_path / "other")
        with pytest.raises(ClientError, match="certificate verify failed"):
            asyncio.run(run(replace(own, ca=tmp_path / "other" / "ca.pem")))
        with pytest.raises(NoAnswer):  # another device's account may not write as this one
            asyncio.run(run(theirs, 3))
    finally:
        site.stop()
