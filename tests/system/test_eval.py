"""`blindsight eval accuracy`: figures that can be checked against the float network, a plot, clear errors."""

import json
import subprocess
import sys

import numpy as np

from blindsight.models import zoo
from blindsight.nn import floatnet
from blindsight.nn.model import Model

BLINDSIGHT = [sys.executable, "-m", "blindsight.app.cli"]


def run(*args) -> subprocess.CompletedProcess:
    return subprocess.run([*BLINDSIGHT, *map(str, args)], capture_output=True, text=True, timeout=300)


def test_accuracy_of_a_zoo_model(tmp_path):
    done = run(
        "eval", "accuracy", "--model", "mnist", "--count", "40", "--plot", tmp_path / "p.png", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    report, data, model = (
        json.loads(done.stdout),
        np.load(zoo.pictures("mnist")),
        Model.load(zoo.path("mnist")),
    )
    logits = floatnet.forward(model.graph, data["x"][:40, ..., None])
    assert report["accuracy"]["float"] == np.mean(logits.argmax(1) == data["y"][:40])
    assert min(report["agreement"].values()) == 1 and report["clear"]["secure_float"] == 1
    assert abs(report["accuracy"]["secure"] - report["accuracy"]["float"]) <= 0.005
    assert 0 < report["logit_error"] < 0.1 * report["logit_spread"]
    counts = np.array(report["confusion"])
    assert counts.sum() == 40 and counts.trace() == round(40 * report["accuracy"]["secure"])
    assert np.array_equal(counts.sum(axis=1), np.bincount(data["y"][:40], minlength=10))
    names = [row["layer"] for row in report["layers"]]
    assert {op.out for op in model.plan.weighted} <= set(names)
    assert all(
        0 < row["relative"] < 0.05 and row["max_error"] >= row["rms_error"] for row in report["layers"]
    )
    assert (tmp_path / "p.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_pictures_without_labels_and_errors(tmp_path):
    x = np.load(zoo.pictures("mnist"))["x"][:3]
    np.savez(tmp_path / "x.npz", x=x)
    done = run("eval", "accuracy", "--model", "mnist", "--images", tmp_path / "x.npz", "--json")
    report = json.loads(done.stdout)
    assert report["accuracy"] is None and report["confusion_rows"] == "float"
    assert np.array(report["confusion"]).trace() == 3
    np.savez(tmp_path / "y.npz", x=x, y=np.array([1, 2, 10]))
    for extra, text in (
        (("--images", tmp_path / "y.npz"), "outside 0..9"),
        (("--images", tmp_path / "x.npz", "--batch", "17"), "--batch"),
        (("--images", tmp_path / "x.npz", "--plot", tmp_path / "p.nothing"), "--plot"),
        (("--images", tmp_path / "none.npz"), "no such file"),
    ):
        done = run("eval", "accuracy", "--model", "mnist", *extra)
        lines = done.stderr.strip().splitlines()
        assert done.returncode == 1 and len(lines) == 1 and text in lines[0], done.stderr
