"""The queue of encrypted pictures on flash: bounded, in order, whole after a power cut at any step, no pixel in it."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import firmware_lab as lab

from blindsight.app.children import free_port

KILLER = Path(__file__).parent / "firmware_scripts" / "killer.py"
FULL_FLASH = KILLER.with_name("full_flash.py")


class Bench:
    """A device whose broker is away until `connect`."""

    def __init__(self, tmp_path: Path, frames: int, **settings: Any) -> None:
        shape = {"height": 16, "width": 40, "channels": 1}
        self.provision = lab.Provision(
            tmp_path / "device", count=frames, **{"hold_kib": 64, **shape, **settings}
        )
        self.provision.set_frames(frames)
        self.servers = lab.Servers(self.provision)
        self.broker = lab.Broker(self.servers.receive)
        self.order: list[str] = []
        receive = self.broker.receive

        def watch(topic: str, payload: bytes) -> list[tuple[str, bytes]]:
            if topic.endswith("/manifest"):
                self.order.append(topic.split("/")[4])
            return receive(topic, payload)

        self.broker.receive = watch
        self.away()

    @property
    def held(self) -> list[Path]:
        return sorted((self.provision.path / "held").iterdir())

    def away(self) -> None:
        self.provision.config["broker"]["port"] = free_port()
        self.provision.write()

    def connect(self) -> None:
        self.provision.config["broker"]["port"] = self.broker.port
        self.provision.write()

    def offline(self, captures: int, **options: Any) -> lab.Device:
        """A life without a broker until so many pictures are taken."""
        device = lab.Device(self.provision.path, **options)
        device.wait_for("captured", captures)
        time.sleep(0.05)
        device.kill()
        return device


@pytest.mark.parametrize("mode", ["rlwe", "rlwe-sk", "aes"])
def test_pictures_taken_offline_arrive_in_order(tmp_path: Path, mode: str) -> None:
    """Within 128 KiB of heap; neither pixels nor seeds on flash; the right pixels at the servers."""
    bench = Bench(tmp_path, 6, mode=mode)
    first = bench.offline(6)
    assert first.stderr == "" and len(bench.held) == 6
    flash = b"".join(
        p.read_bytes() for p in bench.provision.path.rglob("*") if p.name != "frames.bin" and p.is_file()
    )
    for frame in bench.provision.frames:
        assert not any(frame[i : i + 8] in flash for i in range(0, len(frame) - 8, 8))
    assert b'"seed"' not in flash
    bench.connect()
    second = lab.Device(bench.provision.path)
    assert second.wait(60) == 0, second.stderr
    bench.broker.close()
    taken = [e["image"] for e in first.of("captured")]
    assert [i for n, i in enumerate(bench.order) if i not in bench.order[:n]] == taken
    for e in second.of("result"):
        assert bench.servers.pixels[e["image"]] == bench.provision.frames[e["frame"]]
    assert sorted(e["frame"] for e in second.of("result")) == list(range(6))
    assert bench.held == [] and list((bench.provision.path / "pictures").iterdir()) == []


def test_while_any_is_held_new_ones_queue_behind(tmp_path: Path) -> None:
    """A broker that comes back while pictures are still being taken: order is kept."""
    bench = Bench(tmp_path, 12, interval_s=0.05)
    bench.offline(5)
    bench.connect()
    device = lab.Device(bench.provision.path)
    assert device.wait(60) == 0, device.stderr
    bench.broker.close()
    frames = [e["frame"] for e in device.of("receipt")]
    assert frames == sorted(frames) and len(device.of("result")) == 12
    assert any("held" in e for e in device.of("captured"))


@pytest.mark.parametrize("drop", ["oldest", "newest"])
def test_the_queue_is_bounded(tmp_path: Path, drop: str) -> None:
    """12 pictures where about 4 fit; which are left is the setting's choice, and the file sizes never pass it."""
    bench = Bench(tmp_path, 12, hold_kib=16, hold_drop=drop)
    device = lab.Device(bench.provision.path)
    if drop == "oldest":
        device.wait_for("captured", 12)
    else:
        device.wait_for("captured", 3)
        time.sleep(1)
    device.kill()
    sizes = [p.stat().st_size for p in bench.held]
    assert len(sizes) >= 3 and sum(sizes) <= 16 * 1024
    kept = [int(p.name[:8], 16) for p in bench.held]
    count = len(kept)
    assert kept == (list(range(12 - count, 12)) if drop == "oldest" else list(range(count)))
    assert len(device.of("dropped")) == (12 - count if drop == "oldest" else 0)
    bench.connect()
    again = lab.Device(bench.provision.path)
    assert again.wait(60) == 0, again.stderr
    bench.broker.close()
    answered = sorted(e["frame"] for e in again.of("result"))
    assert answered == (kept if drop == "oldest" else list(range(12)))


def on_flash(bench: Bench, kib: int = 0, fails: int = 0, errno: int = 0) -> lab.Device:
    """The device on a flash of so many KiB, on which one opening fails."""
    args = (str(lab.APP), str(kib), str(fails), str(errno))
    return lab.Device(bench.provision.path, heap="512k", main=FULL_FLASH, args=args)


@pytest.mark.parametrize(
    ("errno", "fails", "given_up"), [(28, 2, 1), (5, 1, 0)], ids=["flash full", "other error"]
)
def test_a_picture_that_cannot_be_kept(tmp_path: Path, errno: int, fails: int, given_up: int) -> None:
    """On a full flash the oldest makes room, though it is the one being sent; for another error none does. Either way
    the rest is sent and the device ends.
    """
    bench = Bench(tmp_path, 7, interval_s=0.3)
    first = bench.offline(4).of("captured")[0]["image"]
    bench.servers.reply = lambda image, kind: not given_up or image != first
    bench.connect()
    device = on_flash(bench, fails=fails, errno=errno)
    assert device.wait(60) == 0, device.stderr
    bench.broker.close()
    assert [e["image"] for e in device.of("dropped")] == [first] * given_up
    assert len(device.of("skipped")) == 1 and len(device.of("connected")) == 1
    assert sorted(e["frame"] for e in device.of("result")) == list(range(given_up, 7))
    assert bench.held == []


@pytest.mark.parametrize("drop", ["oldest", "newest"])
def test_a_flash_smaller_than_the_hold(tmp_path: Path, drop: str) -> None:
    """Room is left for receipts, so that what was kept is sent when the broker is back."""
    bench = Bench(tmp_path, 14, hold_kib=1024, hold_drop=drop)
    device = on_flash(bench, kib=60)
    device.wait_for("captured", 14 if drop == "oldest" else 5)
    device.wait_for("offline", len(device.of("offline")) + 6)
    device.kill()
    held = len(bench.held)
    assert 5 <= held <= 7 and not device.of("skipped")
    bench.connect()
    again = on_flash(bench, kib=60)
    assert again.wait(60) == 0, again.stderr
    bench.broker.close()
    assert len(again.of("result")) == (held if drop == "oldest" else 14)


def test_a_hold_too_small_for_a_picture_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 1, hold_kib=1)
    device = lab.Device(bench.provision.path)
    assert device.wait() == 2
    assert device.stderr == "blindsight: config.json: hold_kib holds no picture; one takes 5\n"
    bench.broker.close()


def test_without_hold_kib_what_is_held_is_sent_first(tmp_path: Path) -> None:
    """Set back to 0: nothing is lost and nothing new is held; the pictures after them wait, and the folder goes."""
    bench = Bench(tmp_path, 8, interval_s=0.05)
    taken = [e["image"] for e in bench.offline(5).of("captured")]
    held = bench.held
    bench.provision.config["hold_kib"] = 0
    bench.provision.write()
    still_away = lab.Device(bench.provision.path)
    still_away.wait_for("offline", 5)
    still_away.kill()
    assert not still_away.of("captured") and bench.held == held
    bench.connect()
    device = lab.Device(bench.provision.path)
    assert device.wait(60) == 0, device.stderr
    bench.broker.close()
    assert bench.order[: len(taken)] == taken
    assert sorted(e["frame"] for e in device.of("result")) == list(range(8))
    assert not any("held" in e for e in device.of("captured")) and not device.of("dropped")
    assert not (bench.provision.path / "held").exists()


def test_without_hold_kib_offline_pictures_wait_as_they_did(tmp_path: Path) -> None:
    """Nothing of the hold is left after it was emptied: up to max_pending pictures, none on flash in `held`."""
    bench = Bench(tmp_path, 9, hold_kib=0)
    (bench.provision.path / "held").mkdir()
    device = lab.Device(bench.provision.path)
    device.wait_for("captured", 4)
    device.wait_for("offline", len(device.of("offline")) + 3)
    device.kill()
    bench.broker.close()
    assert len(device.of("captured")) == 4 and not (bench.provision.path / "held").exists()


def test_power_cut_while_the_hold_is_emptied(tmp_path: Path) -> None:
    """Every life ends a step later than the one before; each picture is answered under the id it was taken with."""
    bench = Bench(tmp_path, 3)
    taken = {e["image"] for e in bench.offline(3).of("captured")}
    bench.provision.config["hold_kib"] = 0
    bench.connect()
    answered: set[str] = set()
    for k in range(1, 60):
        run = lab.Device(bench.provision.path, heap="512k", main=KILLER, args=(str(lab.APP), str(k)))
        code = run.wait(60)
        assert "Traceback" not in run.stderr, run.stderr
        answered |= {e["image"] for e in run.of("result")}
        if code == 0:
            break
    bench.broker.close()
    assert code == 0 and answered == taken
    assert not (bench.provision.path / "held").exists()


def taken_by(runs: list[lab.Device]) -> int:
    return len({e["frame"] for run in runs for e in run.of("captured")})


def test_power_cut_at_every_step(tmp_path: Path) -> None:
    """One directory, one life after another, offline and online by turns; life k ends before its k-th durable or
    network operation. Every picture that was reported as taken is answered, none twice under two ids, and what is sent
    again is the same bytes (the lab's servers assert it).
    """
    frames = 30
    bench = Bench(tmp_path, frames, hold_kib=256)
    runs = []
    for k in range(1, 30):
        for online in (False, True):
            bench.connect() if online else bench.away()
            run = lab.Device(bench.provision.path, heap="512k", main=KILLER, args=(str(lab.APP), str(k)))
            deadline = time.monotonic() + 30
            while run.process.poll() is None and time.monotonic() < deadline:
                if not online and run.of("offline") and taken_by([*runs, run]) == frames:
                    break  # alive, and nothing is left to do before step k
                time.sleep(0.01)
            run.kill()
            code = run.process.returncode
            runs.append(run)
            if code == 0:
                break
            assert code == -9, run.stderr
    bench.connect()
    runs.append(lab.Device(bench.provision.path, heap="512k"))
    assert runs[-1].wait(60) == 0, runs[-1].stderr
    bench.broker.close()
    boots = [e["boot"] for run in runs for e in run.of("boot")]
    assert boots == sorted(set(boots))
    taken = {e["image"]: e["frame"] for run in runs for e in run.of("captured")}
    answered: dict[int, set[str]] = {}
    for run in runs:
        assert "Traceback" not in run.stderr, run.stderr
        for e in run.of("result"):
            assert bench.servers.pixels[e["image"]] == bench.provision.frames[e["frame"]]
            answered.setdefault(e["frame"], set()).add(e["image"])
    images = {i for ids in answered.values() for i in ids}
    assert set(taken) <= images, "a picture that was taken is lost"
    assert sorted(answered) == list(range(frames)) and all(len(i) == 1 for i in answered.values())
    c1 = [data[:2304] for held in bench.servers.blocks.values() for data in held.values()]
    assert len(set(c1)) == len(c1), "a seed was used twice"
    assert bench.held == [] and list((bench.provision.path / "pictures").iterdir()) == []


def test_damaged_files_are_swept_away(tmp_path: Path) -> None:
    """Cut short, altered lengths, noise, half-written: removed at start, the rest is sent."""
    bench = Bench(tmp_path, 4)
    bench.offline(4)
    a, b, c, _ = bench.held
    a.write_bytes(a.read_bytes()[:-3])
    b.write_bytes(b.read_bytes()[7:])
    c.rename(c.with_suffix(".q.new"))
    (bench.provision.path / "held" / "noise").write_bytes(json.dumps({"id": 1}).encode() + b"\x0b\x00BSQ1")
    bench.connect()
    device = lab.Device(bench.provision.path)
    assert device.wait() == 0, device.stderr
    bench.broker.close()
    assert [e["frame"] for e in device.of("result")] == [3]


def test_a_refused_one_ends_there(tmp_path: Path) -> None:
    """Without pixels and seed it cannot be sent anew: final, and the next goes on."""
    from blindsight.wire import result

    bench = Bench(tmp_path, 2)
    bench.offline(2)
    bench.servers.refuse = lambda image: (
        result.Failure(result.FailureCode.QUOTA, "enough") if image == bench.order[0] else None
    )
    bench.connect()
    device = lab.Device(bench.provision.path)
    assert device.wait() == 0, device.stderr
    bench.broker.close()
    assert [e["final"] for e in device.of("failure")] == [True]
    assert [e["frame"] for e in device.of("result")] == [1]


def test_one_that_gets_no_receipt_stays_held(tmp_path: Path) -> None:
    """A server whose limits are reached stays silent: nothing is lost, the same bytes go out again (the lab asserts it)."""
    bench = Bench(tmp_path, 2)
    bench.offline(2)
    room: list[bool] = []
    bench.servers.reply = lambda image, kind: bool(room)
    bench.connect()
    device = lab.Device(bench.provision.path)
    device.wait_for("published", 2)
    assert len(bench.held) == 2 and not device.of("failure")
    room.append(True)
    assert device.wait() == 0, device.stderr
    bench.broker.close()
    assert not device.of("failure") and len(device.of("published")) >= 3
    assert [e["frame"] for e in device.of("result")] == [0, 1]
    assert bench.held == []


def test_32x32x3_within_128_kib(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 5, hold_kib=128, height=32, width=32, channels=3)
    first = bench.offline(5)
    assert first.stderr == ""
    bench.connect()
    device = lab.Device(bench.provision.path)
    assert device.wait(60) == 0, device.stderr
    bench.broker.close()
    assert len(device.of("result")) == 5
    heap = device.of("heap")[-1]
    assert heap["peak"] <= heap["total"] <= 128 * 1024
