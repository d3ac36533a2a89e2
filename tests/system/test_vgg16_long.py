"""VGG-16 on 500 CIFAR-10 test pictures, end to end: labels as the float net's, accuracy, bytes."""

import json
import subprocess
import sys

import numpy as np
import pytest

from blindsight.models import zoo

COUNT = 500


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_vgg16_on_500_test_pictures():
    with np.load(zoo.pictures("vgg16"), allow_pickle=False) as data:
        assert len(data["x"]) >= COUNT, "the zoo ships fewer pictures of vgg16 than this test needs"
    command = [
        sys.executable,
        "-m",
        "blindsight.app.cli",
        "infer",
        "--model",
        "vgg16",
        "--count",
        str(COUNT),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3500)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["count"] == len(report["top1"]) == COUNT
    assert report["agreement"] >= 0.99
    assert report["accuracy"] >= report["float_accuracy"] - 0.005
    assert report["online_bytes"] + report["offline_bytes"] <= 20e6
