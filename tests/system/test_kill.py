"""`kill -9` of either server at any moment: pictures are redone with new material, no slot is ever used twice."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from leash import leashed

from blindsight.models import zoo
from blindsight.nn import floatnet
from blindsight.nn.model import Model

WORKER = Path(__file__).with_name("pair_worker.py")


def run_with_kills(folder: Path, pictures: int, kills: int, rng: random.Random) -> int:
    """Run the pair to the end, killing one of the two `kills` times; returns how many kills hit a running process."""
    model_path = zoo.path("mnist")
    model = Model.load(model_path)
    (folder / "plan.json").write_text(model.plan.to_json())
    data = np.load(Path(__file__).parents[2] / "models/data/mnist.npz")["x"][:pictures].reshape(pictures, -1)
    shares = np.random.default_rng(5).integers(0, 256, data.shape, dtype=np.uint8)
    np.save(folder / "pixels-1.npy", shares)
    np.save(folder / "pixels-0.npy", data ^ shares)

    def start(party: int) -> subprocess.Popen:
        path = model_path if party == 0 else folder / "plan.json"
        with open(folder / f"stderr-{party}", "ab") as errors:
            command = [sys.executable, str(WORKER), str(party), str(folder), str(path)]
            return subprocess.Popen(leashed(command), stderr=errors)

    workers = [start(0), start(1)]
    hit, deadline = 0, time.monotonic() + 400
    try:
        for _ in range(kills):
            time.sleep(rng.uniform(0.3, 1.5))
            victim = rng.randrange(2)
            if workers[0].poll() == 0:
                break
            workers[victim].kill()
            workers[victim].wait()
            workers[victim] = start(victim)
            hit += 1
        while workers[0].poll() is None:
            assert time.monotonic() < deadline, "the pair does not finish"
            assert workers[1].poll() in (None, 0), (folder / "stderr-1").read_text()
            time.sleep(0.1)
        assert workers[0].returncode == 0, (folder / "stderr-0").read_text()
        workers[1].kill()
        workers[1].wait()
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()

    for party in (0, 1):
        slots = [int(line) for line in (folder / f"log-{party}").read_text().splitlines()]
        assert len(set(slots)) == len(slots), f"party {party} used a slot twice"
    wrong = 0
    truth = floatnet.forward(model.graph, data.reshape(pictures, 28, 28, 1)).argmax(axis=1)
    for picture in range(pictures):
        a, b = (json.loads((folder / f"share-{p}-{picture}.json").read_text()) for p in (0, 1))
        assert a["slot"] == b["slot"]
        wrong += (a["share"][0] + b["share"][0]) % 2**32 != truth[picture]
    assert wrong == 0
    return hit


def test_kills_lose_nothing_and_reuse_nothing(tmp_path):
    assert run_with_kills(tmp_path, pictures=40, kills=4, rng=random.Random(os.urandom(8))) >= 1


@pytest.mark.long
def test_many_kills(tmp_path):
    for round_ in range(10):
        folder = tmp_path / str(round_)
        folder.mkdir()
        run_with_kills(folder, pictures=20, kills=15, rng=random.Random(os.urandom(8)))
