"""`blindsight model split`, and `blindsight infer` on the result: the same command line, the same answers."""

import json
import shutil
import subprocess
import sys

from blindsight.models import zoo

BLINDSIGHT = [sys.executable, "-m", "blindsight.app.cli"]
PICTURES = ("--images", str(zoo.pictures("mnist")), "--count", "6", "--json")


def run(*args) -> subprocess.CompletedProcess:
    return subprocess.run([*BLINDSIGHT, *map(str, args)], capture_output=True, text=True, timeout=300)


def infer(model) -> dict:
    done = run("infer", "--model", model, *PICTURES)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def fails(*args) -> str:
    done = run(*args)
    assert done.returncode not in (0, 2) and not done.stdout
    (line,) = done.stderr.strip().splitlines()
    return line


def test_split_models_give_the_same_answers(tmp_path):
    split = json.loads(run("model", "split", "mnist", "--out", tmp_path / "a", "--json").stdout)
    assert sorted(split) == ["cloud", "helper", "owner", "plan"]
    owned, concealed = infer("mnist"), infer(tmp_path / "a")
    assert concealed["deployment"] == "concealed" and owned["deployment"] == "cloud-owned"
    assert concealed["top1"] == owned["top1"] and concealed["agreement"] == owned["agreement"] == 1
    assert set(concealed) == set(owned)
    assert 1 < concealed["offline_bytes"] / owned["offline_bytes"] < 4
    assert infer(split["owner"])["top1"] == owned["top1"]  # the owner's file is split afresh

    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "mnist.owner.bsm").unlink()
    alone = infer(tmp_path / "b")
    assert alone["top1"] == owned["top1"] and alone["agreement"] is None

    assert "new folder" in fails("model", "split", "mnist", "--out", tmp_path / "a")
    run("model", "split", "mnist", "--out", tmp_path / "c")
    shutil.copy(tmp_path / "c" / "mnist.helper.share", tmp_path / "b")
    assert "different splits" in fails("infer", "--model", tmp_path / "b", *PICTURES)
    (tmp_path / "b" / "mnist.helper.share").unlink()
    assert "mnist.helper.share" in fails("infer", "--model", tmp_path / "b", *PICTURES)
