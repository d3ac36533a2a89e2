"""Compact storage: a byte a weight, one shift an output channel, the dequantised network as float reference."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from torch import nn

from blindsight.models import compile_model, zoo
from blindsight.models.compiler import Compiled
from blindsight.nn import compact
from blindsight.nn.floatnet import forward
from blindsight.nn.ideal import run_values
from blindsight.nn.model import Model, read_metadata
from blindsight.nn.plan import Conv2d, PlanError

DATA = np.load(zoo.pictures("cifar"))


@pytest.fixture(scope="module")
def made() -> Compiled:
    torch.manual_seed(3)
    net = nn.Sequential(
        *(nn.Conv2d(3, 12, 5, 2, 2), nn.BatchNorm2d(12), nn.ReLU()),
        *(nn.Conv2d(12, 20, 3, 1, 1, bias=False), nn.BatchNorm2d(20), nn.ReLU(), nn.AvgPool2d(3)),
        *(nn.Flatten(), nn.Linear(500, 10)),
    )
    with torch.no_grad():
        for norm in (net[1], net[4]):
            norm.weight.copy_(torch.exp(torch.randn(len(norm.weight))))  # channels of very different size
    settings = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.25), "storage": "compact", "truth": DATA["y"]}
    return compile_model(net, DATA["x"], name="small", weight_bits=14, **settings)


@given(st.integers(0, 2**32), st.integers(8, 16))
@settings(max_examples=50, deadline=None)
def test_packing_returns_what_was_quantised(seed: int, bits: int) -> None:
    rng = np.random.default_rng(seed)
    real = rng.normal(size=(7, 3, 3, 3)) * 10.0 ** rng.integers(-6, 3, (7, 1, 1, 1))
    real *= ((1 << (bits - 1)) - 1) / np.abs(real).max()
    weight = compact.quantise(real)
    mantissa, shift = compact.pack(weight)
    assert mantissa.dtype == np.int8 and np.array_equal(compact.unpack(mantissa, shift), weight)
    peak = np.abs(real).reshape(7, -1).max(axis=1)
    step = np.maximum(1, peak / 64)  # 7 bits and a sign of the channel's largest, at the least
    assert (np.abs(weight - real).reshape(7, -1).max(axis=1) <= step).all()


def test_more_than_eight_bits_are_not_packed() -> None:
    with pytest.raises(PlanError, match="storage compact"):
        compact.pack(np.array([[256, 1]], np.int16))


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0), (3, 2, 0)])
def test_damaged_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(PlanError, match="compile the model again"):
        compact.unpack(np.zeros(shape, np.int8), np.zeros(shape[:1], np.uint8))


def test_a_file_takes_a_byte_a_weight(made: Compiled, tmp_path: Path) -> None:
    made.save(tmp_path / "m.bsm")
    size = (tmp_path / "m.bsm").stat().st_size
    weights = sum(made.model.weight(op).size for op in made.plan.weighted)
    others = sum(4 * made.model.ints[op.bias].size + op.shape[0] for op in made.plan.weighted)
    assert weights + others < size < weights + others + 8192
    assert not any(name.startswith("float/") for name in load_file(tmp_path / "m.bsm"))
    again = Model.load(tmp_path / "m.bsm")
    assert again.storage == "compact" and again.plan == made.plan
    for name, value in made.model.ints.items():
        assert np.array_equal(again.ints[name], value) and again.ints[name].dtype == value.dtype
    assert np.array_equal(forward(again.graph, DATA["x"][:8]), forward(made.model.graph, DATA["x"][:8]))
    again.save(tmp_path / "twice.bsm")
    twice, once = load_file(tmp_path / "twice.bsm"), load_file(tmp_path / "m.bsm")
    assert set(twice) == set(once) and all(np.array_equal(twice[k], v) for k, v in once.items())


def test_the_plan_tells_nothing_of_a_channel(made: Compiled) -> None:
    """One scale and one bit width a layer; the border of a padded first layer is a bias map, as in full storage."""
    for op in made.plan.weighted:
        assert isinstance(op.weight_scale, int) and op.weight_bits <= 14
    first = made.plan.weighted[0]
    assert isinstance(first, Conv2d) and first.bias_map
    shifts = [compact.pack(made.model.weight(op))[1] for op in made.plan.weighted]
    assert max(int(np.ptp(s)) for s in shifts) >= 2  # so channels did take shifts of their own


def test_the_reference_is_the_dequantised_network(made: Compiled) -> None:
    """Float and fixed point differ by truncations alone, and both stay near the trained network."""
    plan, x = made.plan, DATA["x"][:64]
    floats = forward(made.model.graph, x)
    fixed = run_values(plan, made.model.ints, x, np.random.default_rng(0)) / 2.0**plan.output_scale
    assert np.abs(floats - fixed).max() < 0.03 * floats.std()
    assert made.loss is not None and made.loss.count == len(DATA["x"]) and made.loss.accuracy is not None
    assert made.loss.agreement > 0.95 and "points" in str(made.loss)


def test_damaged_compact_files_are_refused(made: Compiled, tmp_path: Path) -> None:
    path = tmp_path / "m.bsm"
    made.save(path)
    good, metadata = load_file(path), read_metadata(path.read_bytes())
    name = next(k for k in good if k.startswith("shift/"))
    weight = name.replace("shift/", "int/")
    for change, word in (
        ({name: np.full_like(good[name], 9)}, "range"),
        ({name: good[name][:-1]}, "shift for each"),
        ({weight: good[weight].astype(np.int16)}, "shift for each"),
        ({weight: np.full_like(good[weight], -128)}, "range"),
        ({"float/x": np.zeros(1, np.float32)}, "alone"),
        ({name: None}, "alone"),
    ):
        save_file({k: v for k, v in {**good, **change}.items() if v is not None}, path, metadata)
        with pytest.raises(PlanError, match=word):
            Model.load(path)
