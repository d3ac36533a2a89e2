"""kill -9 at every durable and network operation of the device: no picture lost, no seed and no counter used twice."""

import random
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import firmware_lab as lab

KILLER = Path(__file__).parent / "firmware_scripts" / "killer.py"


def _conclude(provision: lab.Provision, servers: lab.Servers, runs: list[lab.Device]) -> None:
    """What must hold over all lives of a device together."""
    boots = [e["boot"] for run in runs for e in run.of("boot")]
    assert boots == sorted(set(boots)), "a boot number was used twice"
    captured = [e for run in runs for e in run.of("captured")]
    assert len({e["image"] for e in captured}) == len(captured)
    answers: dict[int, set[str]] = {}
    for run in runs:
        for e in run.of("result"):
            answers.setdefault(e["frame"], set()).add(e["image"])
            pixels = provision.frames[e["frame"]]
            assert servers.pixels[e["image"]] == pixels and e["index"] == lab.label_of(pixels)
    assert sorted(answers) == list(range(len(provision.frames))), "a picture was lost"
    # pictures the servers saw whole are answered once each under one id: nothing was captured or sent twice
    assert all(len(ids) == 1 for ids in answers.values())
    assert len(servers.pixels) == len(provision.frames)
    # c1 depends on the seed alone: equal c1 under two ids would be a reused seed
    c1 = [data[:2304] for held in servers.blocks.values() for data in held.values()]
    assert len(set(c1)) == len(c1)
    for run in runs:
        assert "Traceback" not in run.stderr, run.stderr


def _setup(tmp_path: Path, frames: int) -> tuple[lab.Provision, lab.Servers, lab.Broker]:
    provision = lab.Provision(
        tmp_path / "device", count=frames, height=16, width=40, channels=1, max_pending=2
    )
    provision.set_frames(frames)
    servers = lab.Servers(provision)
    broker = lab.Broker(servers.receive)
    provision.config["broker"]["port"] = broker.port
    provision.write()
    return provision, servers, broker


def test_killed_before_every_operation(tmp_path: Path) -> None:
    """One directory, one life after another; life k ends before its k-th operation, so each step is hit."""
    frames = 40
    provision, servers, broker = _setup(tmp_path, frames)
    runs = []
    for k in [*range(1, 61), 0]:
        args = (str(lab.APP), str(k))
        run = lab.Device(provision.path, heap="512k", main=KILLER, args=args)
        code = run.wait(60)
        runs.append(run)
        if code == 0:
            break
        assert code == -9, run.stderr
    broker.close()
    assert runs[-1].events[-1]["event"] == "done"
    assert len(runs) > 55, "more pictures are needed to reach every step"
    _conclude(provision, servers, runs)
    assert list((provision.path / "pictures").iterdir()) == []


@pytest.mark.long
def test_killed_at_random_moments(tmp_path: Path) -> None:
    """SIGKILL from outside, anywhere; the broker breaks connections too."""
    rng = random.Random(5)
    provision, servers, broker = _setup(tmp_path, 60)
    broker.fault = lambda what: rng.choice(["before", "after"]) if rng.random() < 0.02 else None
    runs = []
    for _ in range(60):
        run = lab.Device(provision.path)
        runs.append(run)
        run.wait_for("boot")
        end = time.monotonic() + rng.uniform(0, 0.8)
        while time.monotonic() < end and run.process.poll() is None:
            time.sleep(0.01)
        run.kill()
        if run.of("done"):
            break
    else:
        runs.append(lab.Device(provision.path))
        assert runs[-1].wait(120) == 0, runs[-1].stderr
    broker.close()
    assert runs[-1].of("done")
    _conclude(provision, servers, runs)


def test_damaged_boot_counter_is_refused(tmp_path: Path) -> None:
    """Starting the counter again from 1 could repeat an id: the device says what to do instead."""
    provision, _, broker = _setup(tmp_path, 1)
    first = lab.Device(provision.path)
    assert first.wait() == 0
    for name in ("boot.0", "boot.1"):
        (provision.path / name).write_text("")
    second = lab.Device(provision.path)
    assert second.wait() == 2
    assert second.stderr == "blindsight: the boot counter is damaged: provision the device with a new epoch\n"
    broker.close()


def test_cut_short_files_are_recovered(tmp_path: Path) -> None:
    """What a power cut can leave: half a record beside its name, orphaned pixels, one counter slot damaged."""
    provision, _, broker = _setup(tmp_path, 2)
    (provision.path / "boot.0").write_text('{"boot": 8}')
    (provision.path / "boot.1").write_text('{"bo')
    pictures = provision.path / "pictures"
    pictures.mkdir()
    (pictures / ("0" * 32 + ".px")).write_bytes(bytes(10))
    (pictures / ("1" * 32 + ".js.new")).write_text('{"id": "11')
    (pictures / ("3" * 32 + ".js")).write_text('{"id": "3333"}')
    (pictures / ("2" * 32 + ".px.new")).write_bytes(bytes(3))
    (provision.path / "state.json.new").write_text('{"frames": 1, "interval": null}')
    run = lab.Device(provision.path)
    assert run.wait() == 0, run.stderr
    broker.close()
    assert run.of("boot")[0]["boot"] == 9
    assert [e["frame"] for e in run.of("result")] == [1], "an interrupted rename of the state is finished"
    assert list(pictures.iterdir()) == []


def test_pending_picture_of_another_shape(tmp_path: Path) -> None:
    """Settings that changed under a stored picture: given up with a reason, the next one goes on."""
    provision, servers, broker = _setup(tmp_path, 2)
    broker.fault = lambda what: "before" if "/up/" in what else None
    first = lab.Device(provision.path)
    first.wait_for("captured")
    first.kill()
    (provision.path / "state.json").write_text('{"frames": 1, "interval": null}')
    pictures = len(list((provision.path / "pictures").glob("*.px")))
    broker.fault = lambda what: None
    provision.config.update(height=8, count=1 + pictures)
    provision.shape = (8, 40, 1)
    frames = provision.set_frames(1 + pictures)
    provision.write()
    second = lab.Device(provision.path)
    assert second.wait() == 0, second.stderr
    broker.close()
    assert [e["final"] for e in second.of("failure")] == [True] * pictures
    assert "another shape" in second.of("failure")[0]["reason"]
    (answer,) = second.of("result")
    assert servers.pixels[answer["image"]] == frames[answer["frame"]]
