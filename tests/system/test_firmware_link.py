"""The real firmware under the MicroPython unix port against a broker that breaks at every packet."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import firmware_lab as lab

from blindsight.wire import keys, manifest, result, topics


class Bench:
    """A provisioned device, the servers and a broker; one at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def build(self, frames: int = 1, **settings: Any) -> "Bench":
        settings.setdefault("count", frames)
        self.provision = lab.Provision(self.path / "device", **settings)
        self.frames = self.provision.set_frames(frames)
        self.servers = lab.Servers(self.provision)
        self.broker = lab.Broker(self.servers.receive)
        self.provision.config["broker"]["port"] = self.broker.port
        self.provision.write()
        return self

    def start(self, **options: Any) -> lab.Device:
        return lab.Device(self.provision.path, **options)

    def check(self, device: lab.Device) -> None:
        """Every frame answered, each once, from exactly its pixels."""
        answers = device.of("result")
        assert sorted(e["frame"] for e in answers) == list(range(len(self.frames)))
        for e in answers:
            pixels = self.frames[e["frame"]]
            assert self.servers.pixels[e["image"]] == pixels
            assert e["index"] == lab.label_of(pixels) and e["label"] == lab.LABELS[e["index"]]
        assert list((self.provision.path / "pictures").iterdir()) == []


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    b = Bench(tmp_path)
    yield b
    lab.Device.reap()
    b.broker.close()


@pytest.mark.parametrize("mode", ["rlwe", "rlwe-sk", "aes"])
@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (20, 51, 1)])
def test_pictures_are_answered(bench: Bench, mode: str, shape: tuple[int, int, int]) -> None:
    """(20, 51, 1) leaves 4 spare coefficients: the result key takes a polynomial of its own."""
    h, w, c = shape
    bench.build(3, mode=mode, height=h, width=w, channels=c)
    device = bench.start()
    assert device.wait() == 0, device.stderr
    bench.check(device)
    assert device.stderr == ""
    published = device.of("published")
    held = bench.servers.blocks
    for e in published:
        assert e["bytes"] == sum(map(len, held[e["image"]].values())) + len(
            bench.servers.manifests[e["image"]]
        )
    assert bench.servers.status["cam-1"]["state"] == "offline"
    assert bench.broker.wills == []
    assert device.of("boot")[0]["core"] == ("cryptolib" if mode == "aes" else "viper")


FAULTS = [
    (what, how)
    for what in ("connect", "subscribe", "status", "/up/.*/0", "/up/.*/1", "manifest", "puback")
    for how in ("before", "after")
]


@pytest.mark.parametrize("what,how", FAULTS)
def test_connection_lost_at_every_packet(bench: Bench, what: str, how: str) -> None:
    bench.build(2)
    left = [2]

    def fault(packet: str) -> str | None:
        if left[0] and re.search(what, packet):
            left[0] -= 1
            return how
        return None

    bench.broker.fault = fault
    device = bench.start()
    assert device.wait() == 0, device.stderr
    bench.check(device)
    assert left[0] == 0 and bench.broker.connections >= 3
    if what == "/up/.*/0" or (what, how) == ("manifest", "before"):
        assert bench.broker.duplicates, "an unacknowledged publish goes out again marked as a duplicate"


def test_lost_receipts_and_results_are_asked_for(bench: Bench) -> None:
    """The servers stay silent for the first sendings: the device sends the same bytes, then reminds."""
    bench.build(2)
    seen: dict[tuple[str, int], int] = {}

    def reply(image: str, kind: int) -> bool:
        seen[image, kind] = seen.get((image, kind), 0) + 1
        return seen[image, kind] > kind + 1

    bench.servers.reply = reply
    device = bench.start()
    assert device.wait() == 0, device.stderr
    bench.check(device)
    assert any(e["resend"] for e in device.of("published")) and device.of("reminded")
    assert bench.servers.duplicates > 0


def test_session_lost_by_the_broker(bench: Bench) -> None:
    """A broker that forgot the session (and the answer in it): the device asks again at once."""
    bench.build(1, retry_s=600, retry_max_s=600)
    real, dropped = bench.servers.receive, []

    def receive(topic: str, payload: bytes) -> list[tuple[str, bytes]]:
        answers = real(topic, payload)
        if answers and not dropped:
            dropped.append(answers[1])
            return answers[:1]  # the receipt arrives, the result is lost with the session
        return answers

    bench.broker.receive = receive
    device = bench.start()
    device.wait_for("receipt")
    bench.broker.sessions.clear()
    bench.broker.cut()
    assert device.wait(15) == 0, device.stderr
    bench.check(device)
    assert [e["session_present"] for e in device.of("connected")] == [False, False]
    assert len(device.of("reminded")) == 1


def test_failures_before_the_receipt(bench: Bench) -> None:
    """A retriable failure: the same pixels under a new id and new randomness. A final one: given up, said so."""
    bench.build(2)
    refused: list[str] = []

    def refuse(image: str) -> result.Failure | None:
        if len(refused) < 2 and image not in refused:
            refused.append(image)
            code = result.FailureCode.GAVE_UP if len(refused) == 1 else result.FailureCode.KEY
            return result.Failure(code, "try again")
        return result.Failure(result.FailureCode.KEY, "no") if image in refused[1:] else None

    bench.servers.refuse = refuse
    device = bench.start()
    assert device.wait() == 0, device.stderr
    failures = device.of("failure")
    assert [(e["code"], e["final"]) for e in failures] == [(5, False), (6, True)]
    assert failures[0]["reason"] == "try again"
    (renewed,) = device.of("renewed")
    (answer,) = device.of("result")
    assert answer["image"] == renewed["image"] != failures[0]["image"]
    assert bench.servers.pixels[answer["image"]] == bench.frames[answer["frame"]]
    blocks = bench.servers.blocks
    assert blocks[failures[0]["image"]][0] != blocks[answer["image"]][0]


def test_foreign_messages_change_nothing(bench: Bench) -> None:
    """Wrong attempt, picture, key, mode, length, version, manifest; huge and malformed messages; then the answer."""
    bench.build(1, retry_s=600, retry_max_s=600)
    bench.servers.reply = lambda image, kind: False
    device = bench.start()
    (published,) = device.wait_for("published")
    image = published["image"]
    p, raw = bench.provision, bytes.fromhex(published["image"])
    signed, _ = manifest.split_salt(bench.servers.manifests[image])
    digest = manifest.manifest_hash(signed)
    _, base = lab.Servers._decrypt(p, manifest.parse(signed), bench.servers.blocks[image])
    key = keys.result_key(base, p.device, raw, digest)
    make = bench.servers.make_result
    good = make(p, raw, digest, key, [3], 7)
    down = topics.down(p.device, raw)
    bad = [
        make(p, raw, digest, key, [3], 7, seal_attempt=6),  # shares of two attempts
        make(p, raw, digest, bytes(32), [3], 7),
        make(p, bytes(16), digest, key, [3], 7),
        make(p, raw, bytes(32), key, [3], 7),
        make(p, raw, digest, key, [3, 4], 7)[:-1],
        good[:-1] + bytes([good[-1] ^ 1]),
        good[:6] + b"\x02" + good[7:],  # another reveal mode
        result.Receipt(bytes(32)).encode(),
        result.Receipt(digest).encode()[:-1],
    ]
    for message in bad:
        bench.broker.send(p.device, down, message)
    device.wait_for("rejected", len(bad))
    for topic, message in (
        (down, b""),
        (down, good[:1] + b"\x02" + good[2:]),  # version 2
        (down, b"\x02\x01"[:1]),
        (down, bytes(100_000)),
        (down[:-1], good),
        (down + "/x", good),
        (topics.down(p.device, bytes(16)), good),
        (topics.base(p.device) + "/cmd/keys", b"x" * 300),
        (topics.base(p.device) + "/cmd/interval", b"-5"),
        (topics.base(p.device) + "/other/x", b"1"),
        (down, b"\x03\x01"),
        (down, b"\x03\x01\x05\x09short"),
    ):
        bench.broker.send(p.device, topic, message)
    bench.broker.send(p.device, down, good)
    assert device.wait() == 0, device.stderr
    (answer,) = device.of("result")
    assert (answer["index"], answer["attempt"]) == (3, 7)
    assert bench.broker.connections == 1


def test_answers_that_never_come(bench: Bench) -> None:
    """Servers that accept and then forget: the device stops at max_open, asks in vain, and gives the oldest up."""
    bench.build(6, max_open=3, retry_s=0.05, retry_max_s=0.05)
    bench.servers.reply = lambda image, kind: kind == 1 or len(bench.servers.pixels) > 5
    device = bench.start()
    assert device.wait(60) == 0, device.stderr
    lost = device.of("failure")
    assert lost and all(e["reason"] == "no answer came" and e["final"] for e in lost)
    assert {e["frame"] for e in (*lost, *device.of("result"))} == set(range(6))
    assert len(device.of("reminded")) > 12


def test_sixteen_open_pictures_fit(bench: Bench) -> None:
    """128 KiB hold the records of max_open pictures that are accepted and not yet answered."""
    bench.build(20, retry_s=60)
    bench.servers.reply = lambda image, kind: kind == 1
    device = bench.start()
    device.wait_for("receipt", 16, 60)
    time.sleep(0.5)
    assert len(device.of("captured")) == 16
    bench.servers.reply = lambda image, kind: True
    for image, answer in list(bench.servers.answers.items()):
        bench.broker.send("cam-1", topics.down("cam-1", bytes.fromhex(image)), answer)
    assert device.wait(60) == 0, device.stderr
    bench.check(device)


def test_commands(bench: Bench) -> None:
    """capture, interval and reboot; the interval survives the reboot."""
    bench.build(3, count=0, interval_s=600)
    device = bench.start()
    device.wait_for("result")
    command = topics.base("cam-1") + "/cmd/"
    bench.broker.send("cam-1", command + "capture", b"")
    device.wait_for("result", 2)
    bench.broker.send("cam-1", command + "interval", b"300")
    device.wait_for("interval")
    bench.broker.send("cam-1", command + "reboot", b"")
    assert device.wait() == 0, device.stderr
    assert device.events[-1]["event"] == "reboot"
    again = bench.start()
    again.wait_for("result")
    assert (bench.provision.path / "state.json").read_text().count("300") == 1
    assert again.of("boot")[0]["boot"] == 2
    time.sleep(0.3)
    assert len(again.of("captured")) == 1, "the reboot command came once"


def test_deep_sleep_cycle(bench: Bench) -> None:
    """Each wake: one picture, its answer (also of earlier ones), then sleep; ids stay unique across wakes."""
    bench.build(3, count=0, interval_s=600, sleep="deep", awake_s=3, retry_s=30)
    bench.servers.reply = lambda image, kind: kind == 1
    first = bench.start()
    assert first.wait() == 0, first.stderr
    assert first.events[-1]["event"] == "sleep" and 1 <= first.events[-1]["seconds"] <= 600
    assert bench.servers.status["cam-1"]["state"] == "sleeping"
    (image,) = {e["image"] for e in first.of("receipt")}
    record = (bench.provision.path / "pictures" / f"{image}.js").read_text()
    assert "seed" not in record and not list(bench.provision.path.glob("pictures/*.px"))
    bench.broker.send("cam-1", topics.down("cam-1", bytes.fromhex(image)), bench.servers.answers[image])
    bench.servers.reply = lambda image, kind: True
    bench.provision.config["awake_s"] = 60  # it sleeps as soon as both are answered
    bench.provision.write()
    second = bench.start()
    assert second.wait() == 0, second.stderr
    assert {e["frame"] for e in second.of("result")} == {0, 1}
    assert len({e["image"][:16] for e in (*first.of("captured"), *second.of("captured"))}) == 2


def test_reveal_modes(bench: Bench) -> None:
    """Logits: signed fixed-point numbers, the largest is the class. Top-k: the first index is the class."""
    bench.build(1, reveal="logits", retry_s=600)
    bench.servers.reply = lambda image, kind: kind == 1
    device = bench.start()
    (receipt,) = device.wait_for("receipt")
    p, image = bench.provision, bytes.fromhex(receipt["image"])
    signed, _ = manifest.split_salt(bench.servers.manifests[receipt["image"]])
    digest = manifest.manifest_hash(signed)
    _, base = lab.Servers._decrypt(p, manifest.parse(signed), bench.servers.blocks[receipt["image"]])
    logits = [-256, 128, 512, -1, 0, 3, 511, -(1 << 30), 1, 2]
    key = keys.result_key(base, p.device, image, digest)
    bench.broker.send(
        p.device, topics.down(p.device, image), bench.servers.make_result(p, image, digest, key, logits, 1)
    )
    assert device.wait() == 0, device.stderr
    (answer,) = device.of("result")
    assert answer["index"] == 2 and answer["values"] == [v / 256 for v in logits]


def test_hook(bench: Bench) -> None:
    """hook.py in the device directory gets label and index."""
    bench.build(1)
    (bench.provision.path / "hook.py").write_text(
        'def on_result(label, index):\n    print(\'{"event": "hook", "got": "%s %d"}\' % (label, index))\n'
    )
    device = bench.start()
    assert device.wait() == 0, device.stderr
    want = lab.label_of(bench.frames[0])
    assert [e["got"] for e in device.of("hook")] == [f"{lab.LABELS[want]} {want}"]


@pytest.mark.parametrize("mode", ["rlwe", "rlwe-sk"])
def test_c_core_is_used_where_installed(bench: Bench, mode: str) -> None:
    """The native .mpy beside the settings: the same pictures arrive, encrypted by the C core."""
    folder = lab.ROOT / "device_fw" / "natmod"
    bench.build(2, mode=mode)
    device = bench.provision.path
    build = [sys.executable, str(folder / "build.py"), "x64", str(device / "_bsnative.mpy")]
    subprocess.run(build, check=True, timeout=120, capture_output=True)
    shutil.copy(folder / "bsnative.py", device)
    run = bench.start()
    assert run.wait() == 0, run.stderr
    bench.check(run)
    assert run.of("boot")[0]["core"] == "native"


def test_failing_hook_loses_no_answer(bench: Bench) -> None:
    bench.build(2)
    (bench.provision.path / "hook.py").write_text("def on_result(label, index):\n    raise KeyError(index)\n")
    device = bench.start()
    assert device.wait() == 0, device.stderr
    bench.check(device)
    assert len(device.of("hook")) == 2


def test_silent_broker_is_left(bench: Bench) -> None:
    """A broker that stops answering pings is given up and found again."""
    bench.build(2, count=0, interval_s=600, keepalive_s=1, timeout_s=1)
    mute = [True]

    def fault(packet: str) -> str | None:
        if packet == "ping" and mute[0]:
            mute[0] = False
            time.sleep(2.5)
        return None

    bench.broker.fault = fault
    device = bench.start()
    deadline = time.monotonic() + 60
    while not any("ping" in e["reason"] for e in device.of("offline")):
        assert time.monotonic() < deadline, device.events
        time.sleep(0.05)
    device.wait_for("connected", 1 + len(device.of("offline")))
