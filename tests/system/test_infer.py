"""`blindsight infer`: two processes, real protocols, labels as the float network's; bad input is one clear line."""

import io
import json
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from blindsight.app.images import ImagesError, load_images
from blindsight.app.infer import InferError
from blindsight.app.party import Task
from blindsight.app.party_process import PartyProcess
from blindsight.models import zoo
from blindsight.nn import floatnet
from blindsight.nn.model import Model

COUNT = {"vgg16": 16}  # of what takes a second a picture; test_vgg16_long has 500
BLINDSIGHT = [sys.executable, "-m", "blindsight.app.cli"]


def run(*args: str, check: bool = True) -> subprocess.CompletedProcess:
    done = subprocess.run([*BLINDSIGHT, *map(str, args)], capture_output=True, text=True, timeout=500)
    assert not check or done.returncode == 0, done.stderr
    return done


def infer(*args: str) -> dict:
    out = run("infer", *args, "--json").stdout
    assert out.count("\n") == 1
    return json.loads(out)


def check_zoo(name: str, count: int, missed: int, points: float) -> None:
    """At most `missed` labels differ from the float network's, and the accuracy differs by at most `points` of 1."""
    report = infer("--model", name, "--count", str(count))
    data = np.load(zoo.pictures(name))
    model = Model.load(zoo.path(name))
    x = data["x"][:count]
    truth = floatnet.forward(model.graph, x if x.ndim == 4 else x[..., None]).argmax(axis=1)
    same = np.array(report["top1"]) == truth
    assert report["agreement"] == np.mean(same) and (~same).sum() <= missed
    assert report["accuracy"] == np.mean(np.array(report["top1"]) == data["y"][:count])
    assert abs(report["accuracy"] - report["float_accuracy"]) <= points + 1e-9
    for key in ("online_s", "offline_s", "setup_s", "online_bytes", "offline_bytes", "rounds"):
        assert report[key] > 0
    assert set(report["peak_rss_bytes"]) == {"cloud", "helper"} and report["count"] == count


@pytest.mark.parametrize("name", zoo.names())
def test_zoo_labels_are_the_float_networks(name):
    # A picture on the border of two classes falls either way: two of 100 are 8 times what the whole test set foretells.
    count = COUNT.get(name, 100)
    check_zoo(name, count, missed=2, points=2 / count)


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in zoo.names() if name not in COUNT])
def test_zoo_on_every_shipped_picture(name):
    count = len(np.load(zoo.pictures(name))["x"])
    check_zoo(name, count, missed=count // 100, points=max(0.005, 1 / count))


def test_wan_gives_the_same_answers():
    lan, wan = (infer("--model", "mnist", "--count", "2", "--link", link) for link in ("lan", "wan"))
    assert lan["top1"] == wan["top1"]


def test_torch_floor_is_the_float_reference():
    from blindsight.models.torch_floor import TorchFloor

    for name in zoo.names():
        model = Model.load(zoo.path(name))
        x = np.load(zoo.pictures(name))["x"][:8]
        x = x if x.ndim == 4 else x[..., None]
        ours, theirs = floatnet.forward(model.graph, x), TorchFloor(model.graph)(x).numpy()
        assert np.allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


def fails(*args: str) -> str:
    done = run(*args, check=False)
    assert done.returncode not in (0, 2) and done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
    return lines[0]


def test_bad_models_are_one_clear_line(tmp_path):
    good = zoo.path("mnist").read_bytes()
    cases = {
        "truncated.bsm": good[: len(good) // 2],
        "tiny.bsm": good[:5],
        "altered.bsm": good[:8] + good[8:2000].replace(b"conv1", b"conv9") + good[2000:],
        "pickled.bsm": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix.",
        "empty.bsm": b"",
    }
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        assert name in fails("infer", "--model", tmp_path / name, "--images", zoo.pictures("mnist"))
    assert "zoo model" in fails("infer", "--model", tmp_path / "absent.bsm")


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"x": np.zeros((2, 28, 27), np.uint8)}, "28 x 28 x 1"),
        ({"x": np.zeros((2, 28, 28, 3), np.uint8)}, "28 x 28 x 1"),
        ({"x": np.zeros((2, 28, 28), np.float32)}, "uint8"),
        ({"x": np.zeros((0, 28, 28), np.uint8)}, "no pictures"),
        ({"pictures": np.zeros((2, 28, 28), np.uint8)}, "no array `x`"),
        ({"x": np.zeros((2, 28, 28), np.uint8), "y": np.zeros(3, np.int64)}, "one integer for each"),
        ({"x": np.array([{"a": 1}], dtype=object)}, "not an .npz of plain arrays"),
    ],
    ids=["shape", "channels", "dtype", "empty", "name", "labels", "pickled"],
)
def test_bad_pictures_are_one_clear_line(tmp_path, arrays, text):
    np.savez(tmp_path / "x.npz", **arrays)
    assert text in fails("infer", "--model", "mnist", "--images", tmp_path / "x.npz")


def test_other_bad_input(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"no zip")
    assert "x.npz" in fails("infer", "--model", "mnist", "--images", tmp_path / "x.npz")
    assert "--link" in fails("infer", "--model", "mnist", "--link", "moon")
    assert "500 pictures" in fails("infer", "--model", "mnist", "--count", "501")
    assert "--count" in fails("infer", "--model", "mnist", "--count", "0")


def saved(save, **arrays) -> bytearray:
    file = io.BytesIO()
    save(file, **arrays)
    return bytearray(file.getvalue())


def test_damaged_archives_and_bare_arrays_are_told_how_to_be_made(tmp_path):
    pictures = np.arange(2 * 784, dtype=np.uint8).reshape(2, 28, 28)
    archive = saved(np.savez_compressed, x=pictures)
    stream = 30 + archive[26] + archive[28]  # after the local header, the name and the extra field
    entry = archive.index(b"PK\x01\x02")  # in the directory, with flags at 8 and the method at 10
    cases = {"bare": (saved(np.save, arr=pictures), "one bare array")}
    for name, at, value in (("stream", stream, 255), ("password", entry + 8, 1), ("method", entry + 10, 99)):
        cases[name] = (archive.copy(), "not an .npz of plain arrays")
        cases[name][0][at] = value
    for name, (data, text) in cases.items():
        (tmp_path / f"{name}.npz").write_bytes(data)
        with pytest.raises(ImagesError) as caught:
            load_images(tmp_path / f"{name}.npz")
        message = str(caught.value)
        assert text in message and "numpy.savez(FILE, x=pictures)" in message and "\n" not in message
    (tmp_path / "whole.npz").write_bytes(archive)
    assert np.array_equal(load_images(tmp_path / "whole.npz")[0], pictures)


LOUD = """
import json, sys
sys.stdin.buffer.readline()
sys.stdin.buffer.read()
for i in range(20_000):
    print(json.dumps({"event": "progress", "phase": "online", "done": i}))
print(json.dumps({"event": "report"}))
"""


def test_progress_larger_than_a_pipe_is_read(tmp_path, monkeypatch):
    """A megabyte each way, through pipes that hold 64 KiB."""
    (tmp_path / "loud.py").write_text(LOUD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    party, heard = PartyProcess("loud", Task(0, "", 1, 1, 1, "lan"), InferError), []
    try:
        party.write(bytes(1 << 20), last=True)
        assert party.hear("report", heard.append) == {"event": "report"}
    finally:
        party.stop()
    assert [event["done"] for event in heard] == list(range(20_000))


def test_the_helper_says_nothing_until_its_report(tmp_path):
    """Nobody reads it before the cloud has ended, so progress of some thousand pictures would fill its pipe."""
    plan = Model.load(zoo.path("mnist")).plan
    (tmp_path / "plan.json").write_text(plan.to_json())
    heard = {"cloud": [], "helper": []}
    with ExitStack() as stack:

        def start(party, path, port=0):
            process = PartyProcess(
                "blindsight.app.party", Task(party, str(path), 2, 1, 1, "lan", port), InferError
            )
            stack.callback(process.stop)
            process.write(np.zeros((2, 784), "<u4").tobytes(), last=True)
            return process

        helper = start(1, tmp_path / "plan.json")
        cloud = start(0, zoo.path("mnist"), helper.hear("port")["port"])
        cloud.hear("report", heard["cloud"].append)
        helper.hear("report", heard["helper"].append)
    said = [(event["phase"], event["done"]) for event in heard["cloud"]]
    assert said == [("offline", 1), ("online", 1), ("offline", 2), ("online", 2)] and heard["helper"] == []


def test_plans_that_differ_are_refused(tmp_path):
    """The helper of another compilation: both processes end with one clear error."""
    shutil.copy(zoo.path("mnist"), tmp_path / "m.bsm")
    plan = json.loads(Model.load(tmp_path / "m.bsm").plan.to_json())
    plan["name"] = "other"
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    task = {"count": 1, "batch": 1, "threads": 1, "link": "lan"}
    pixels = np.zeros(784, "<u4").tobytes()

    def start(fields):
        process = subprocess.Popen(
            [sys.executable, "-m", "blindsight.app.party"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        process.stdin.write(json.dumps({**task, **fields}).encode() + b"\n" + pixels)
        process.stdin.close()
        return process

    helper = start({"party": 1, "path": str(tmp_path / "plan.json")})
    port = json.loads(helper.stdout.readline())["port"]
    cloud = start({"party": 0, "path": str(Path(tmp_path / "m.bsm")), "port": port})
    for process in (cloud, helper):
        message = json.loads(process.stdout.readlines()[-1])
        assert message["event"] == "error" and process.wait(20) == 1
        process.stdout.close()
        assert "plan hash" in message["message"] or "closed" in message["message"]
