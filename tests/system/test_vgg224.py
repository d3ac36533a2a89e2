"""VGG-16 in torchvision's layout: the seeded model, its cache, and secure runs of it at 64 and (long) at 224 pixels."""

import json
import subprocess
import sys

import numpy as np
import pytest

from blindsight.app import modelfile
from blindsight.models.zoo import vgg224
from blindsight.nn import floatnet
from blindsight.nn.ideal import run_values
from blindsight.nn.model import Model
from blindsight.nn.network import Network
from blindsight.offline.make import fitting, layout

PARAMETERS = 138_357_544  # of torchvision's vgg16


def infer(model: str, *more: str) -> dict:
    command = [sys.executable, "-m", "blindsight.app.cli", "infer", "--json", "--model", model, *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_same_network_at_64_pixels(tmp_path):
    """The same layers, code and streaming as at 224, with 4 x 4 for every 49 x 49 pixels and narrower dense layers."""
    model = vgg224.compile_seeded(64, hidden=256, classes=100)
    model.save(tmp_path / "m.bsm")
    x = vgg224.pictures(2, 64)
    np.savez(tmp_path / "x.npz", x=x)
    report = infer(str(tmp_path / "m.bsm"), "--images", str(tmp_path / "x.npz"))
    fixed = run_values(model.plan, model.ints, x, np.random.default_rng(1))
    assert (
        report["top1"]
        == fixed.argmax(axis=1).tolist()
        == floatnet.forward(model.graph, x).argmax(axis=1).tolist()
    )
    assert report["weights"].startswith("random") and report["agreement"] == 1
    most = max(layout(Network(model.plan), party).nbytes for party in (0, 1))
    weights = sum(value.nbytes for value in model.ints.values())
    for peak in report[
        "peak_rss_bytes"
    ].values():  # the interpreter, two slots, the weights and what passes by
        assert peak < 150e6 + 2 * 2 * most + 4 * weights


def test_the_seed_decides_the_weights():
    graphs = [vgg224.graph(32, seed, 16, 10) for seed in (1, 1, 2)]
    one, same, other = (g.arrays["features.0.weight"] for g in graphs)
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    with pytest.raises(ValueError, match="multiple of 32"):
        vgg224.graph(100)


def test_layout_is_torchvisions():
    """Names and shapes of the module and of the seeded graph are those of torchvision's state dict."""
    torch = pytest.importorskip("torch")
    from blindsight.models.zoo.imagenet import VGG16

    with torch.device("meta"):
        state = VGG16().state_dict()
    places = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    layers = [f"features.{i}" for i in places] + [f"classifier.{i}" for i in (0, 3, 6)]
    assert list(state) == [f"{name}.{part}" for name in layers for part in ("weight", "bias")]
    assert sum(value.numel() for value in state.values()) == PARAMETERS
    small = vgg224.graph(32, 1, 16, 10)
    assert {op.out for op in small.ops if op.tensors} == set(layers)
    for name, value in small.arrays.items():
        if name.startswith("features"):
            assert value.shape == tuple(state[name].shape)


def test_needs_no_torch():
    """The services' install, which has no PyTorch, builds it too."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from blindsight.models.zoo import vgg224\n"
        "print(vgg224.compile_seeded(32, hidden=16, classes=10).plan.classes)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout == "10\n", done.stderr


def test_built_once_in_the_cache(tmp_path, monkeypatch, capsys):
    built = []

    def small(progress=None):
        built.append(1)
        return real(32, hidden=16, classes=10)

    real = vgg224.compile_seeded
    monkeypatch.setattr(vgg224, "compile_seeded", small)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = modelfile.find_model("vgg16-224")
    assert path.parent == tmp_path / "blindsight" and "once" in capsys.readouterr().err
    assert modelfile.find_model("vgg16-224") == path and len(built) == 1
    assert np.load(modelfile.pictures_of("vgg16-224"))["x"].shape == (16, 224, 224, 3)
    assert Model.load(path).plan.name.endswith("-seeded")
    assert not list(path.parent.glob(f"*.{path.stem}*"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(modelfile.ModelNameError, match="XDG_CACHE_HOME"):
        modelfile.find_model("vgg16-224")


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_whole_at_224(tmp_path_factory):
    """One picture: the labels of the float net and of the fixed-point simulation, below 0.9 GB and 6 GiB a party."""
    path, images = vgg224.cached()
    model = Model.load(path)
    first = model.ints[
        "features.0.bias"
    ]  # a map: padding is black, which is not zero once pictures are normalised
    assert first.shape == (64, 224, 224)
    assert sum(value.size for value in model.ints.values()) - first.size + 64 == PARAMETERS
    x = np.load(images)["x"][:1]
    fixed = run_values(model.plan, model.ints, x, np.random.default_rng(1))
    assert 1 <= fitting(Network(model.plan)) <= 16
    report = infer("vgg16-224", "--count", "1")
    assert report["top1"] == fixed.argmax(axis=1).tolist() and report["agreement"] == 1
    assert report["online_bytes"] + report["offline_bytes"] < 0.9e9
    assert max(report["peak_rss_bytes"].values()) < 6 << 30
