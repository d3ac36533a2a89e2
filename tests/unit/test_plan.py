"""The public plan: canonical JSON, hash, strict checks; model files: everything checked, nothing unpickled."""

import copy
import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from blindsight.models import compile_model, zoo
from blindsight.nn.floatnet import forward
from blindsight.nn.model import Model, plan_path
from blindsight.nn.plan import Plan, PlanError, canonical, load_plan

ZOO = zoo.names()
MNIST = zoo.path("mnist")


def plan_dict() -> dict[str, Any]:
    return json.loads(plan_path(MNIST).read_text())


@pytest.mark.parametrize("name", ZOO)
def test_zoo_plans_and_models_agree(name: str) -> None:
    model, plan = Model.load(zoo.path(name)), load_plan(plan_path(zoo.path(name)))
    text = plan_path(zoo.path(name)).read_text()
    assert model.plan == plan and plan.to_json() == text
    assert plan.hash == hashlib.sha256(text.encode()).digest()
    assert plan.name == name and plan.labels == zoo.LABELS[name] and plan.reveal.mode == "top1"
    assert zoo.path(name).stat().st_size < (16_000_000 if name == "vgg16" else 2_000_000)


def test_plan_tells_nothing_of_weight_values() -> None:
    """Two networks of one function and other weights (hidden units in another order) have the same plan, byte for byte."""
    torch.manual_seed(1)
    one = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))
    two, order = copy.deepcopy(one), torch.randperm(16)
    with torch.no_grad():
        two[1].weight.copy_(one[1].weight[order])
        two[1].bias.copy_(one[1].bias[order])
        two[3].weight.copy_(one[3].weight[:, order])
    pictures = np.load(zoo.pictures("mnist"))["x"][:32]
    a, b = (compile_model(net, pictures, name="n", weight_bits=8, m=16) for net in (one, two))
    for layer in a.plan.weighted:
        assert not np.array_equal(a.model.ints[layer.weight], b.model.ints[layer.weight])
    assert a.plan.to_json() == b.plan.to_json()


def test_order_and_spaces_do_not_change_the_hash() -> None:
    item = plan_dict()
    loose = json.dumps(dict(reversed(item.items())), indent=3)
    assert Plan.from_json(loose).hash == load_plan(plan_path(MNIST)).hash


def change(path: str, value: Any) -> str:
    """The plan with one field replaced (or removed, where value is Ellipsis)."""
    item: Any = plan_dict()
    at = item
    *parents, last = path.split(".")
    for part in parents:
        at = at[int(part) if part.isdigit() else part]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return json.dumps(item)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", "other", "not a plan"),
        ("version", 2, "version"),
        ("extra", 1, "unknown fields"),
        ("labels", ..., "missing"),
        ("labels", ["a"], "labels"),
        ("name", "../evil", "name"),
        ("reveal", {"mode": "all", "k": 1}, "reveal"),
        ("reveal", {"mode": "top1", "k": 2}, "reveal"),
        ("input.width", 29, "shape"),
        ("input.pixel_format", "rgb888", "channels"),
        ("output_scale", 3, "output_scale"),
        ("deployment", "open", "deployment"),
        ("ops.1.scale", 12, "scale"),
        ("ops.1.shape", [8, 24, 25], "shape"),
        ("ops.1.groups", 3, "groups"),
        ("ops.1.weight_bits", 17, "weight_bits"),
        ("ops.1.weight_bits", True, "wrong type"),
        ("ops.1.kernel", [5, 0], "kernel"),
        ("ops.1.kernel", [50, 50], "larger"),
        ("ops.1.in", "nowhere", "not written"),
        ("ops.1.in", ["input"], "one name"),
        ("ops.1.out", "input", "twice"),
        ("ops.1.out", "a b", "names"),
        ("ops.1.op", "conv9d", "unknown operation"),
        ("ops.2.m", 17, "m must be"),
        ("ops.2.f", 20, "m + f"),
        ("ops.2.f", -1, "m must be"),
        ("ops.3.weight", "conv1.weight", "same weight"),
        ("ops.0.shape", [1, 100000, 100000], "not usable"),
        ("ops", [], "ops"),
        ("ops.2.relu", 1, "wrong type"),
    ],
)
def test_altered_plans_are_refused(path: str, value: Any, message: str) -> None:
    with pytest.raises(PlanError) as caught:
        Plan.from_json(change(path, value))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_doubled_keys_and_non_numbers_are_refused() -> None:
    text = canonical(plan_dict())
    with pytest.raises(PlanError, match="twice"):
        Plan.from_json(text[:-1] + ',"name":"other"}')
    with pytest.raises(PlanError, match="no number"):
        Plan.from_json(text.replace('"version":1', '"version":NaN'))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_plans_never_crash(data: st.DataObject) -> None:
    text = bytearray(canonical(plan_dict()).encode())
    at = data.draw(st.integers(0, len(text) - 1))
    text[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(text)))
    for damaged in (bytes(text), bytes(text[:cut])):
        try:
            Plan.from_json(damaged)
        except PlanError as error:
            assert str(error)


def test_the_helper_refuses_a_file_with_weights(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="weights"):
        load_plan(MNIST)
    hidden = tmp_path / "m.plan.json"
    hidden.write_bytes(MNIST.read_bytes())
    with pytest.raises(PlanError, match="weights"):
        load_plan(hidden)
    with pytest.raises(PlanError, match="No such file"):
        load_plan(tmp_path / "none.json")


def test_models_survive_saving(tmp_path: Path) -> None:
    model = Model.load(MNIST)
    model.save(tmp_path / "again.bsm")
    again = Model.load(tmp_path / "again.bsm")
    assert again.plan == model.plan
    for name, value in model.ints.items():
        assert value.dtype == again.ints[name].dtype and np.array_equal(value, again.ints[name])
    x = np.load(zoo.pictures("mnist"))["x"][:20, :, :, None]
    assert np.array_equal(forward(model.graph, x), forward(again.graph, x))


@given(st.integers(0, 2**32), st.integers(0, 255))
@settings(max_examples=60, deadline=None)
def test_damaged_models_never_crash(position: int, byte: int) -> None:
    data = bytearray(MNIST.read_bytes())
    header = 8 + int.from_bytes(data[:8], "little")
    data[position % header] = byte
    for damaged in (bytes(data), bytes(data[: position % len(data)])):
        try:
            Model.from_bytes(damaged)
        except PlanError as error:
            assert str(error)


def test_pickles_and_other_files_are_refused_by_name(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("the pickle was loaded",))

    file = tmp_path / "m.bsm"
    for data, word in (
        (pickle.dumps(Bomb()), "pickled"),
        (b"PK\x03\x04" + bytes(50), "pickled"),
        (plan_path(MNIST).read_bytes(), "a plan"),
        (b"", "truncated"),
        (bytes(100), "no model file"),
        (MNIST.read_bytes()[:-100], "truncated"),
    ):
        file.write_bytes(data)
        with pytest.raises(PlanError, match=word):
            Model.load(file)


@pytest.mark.parametrize("first", [0x80, 0x50, 0x7B])
def test_any_header_length_is_read(first: int) -> None:
    """The header's length may begin with the byte of a pickle, a zip or a JSON object."""
    data = MNIST.read_bytes()
    length = int.from_bytes(data[:8], "little")
    pad = (first - length) % 256
    longer = (length + pad).to_bytes(8, "little") + data[8 : 8 + length] + b" " * pad + data[8 + length :]
    assert longer[0] == first and Model.from_bytes(longer).plan == Model.load(MNIST).plan


def test_tensors_must_match_the_plan() -> None:
    model = Model.load(MNIST)
    weight = model.plan.weighted[0].weight
    good = dict(model.ints)
    for value, word in (
        (good[weight].astype(np.int32), "int32"),
        (good[weight][:, :, :4], "plan says"),
        (np.full_like(good[weight], 200), "exceeds"),
    ):
        with pytest.raises(PlanError, match=word):
            Model(model.plan, {**good, weight: value}, model.graph)
    with pytest.raises(PlanError, match="not in the plan"):
        Model(model.plan, {**good, "spare": good[weight]}, model.graph)
    with pytest.raises(PlanError, match="missing"):
        Model(model.plan, {k: v for k, v in good.items() if k != weight}, model.graph)


def test_pictures_of_the_wrong_kind_are_refused() -> None:
    graph = Model.load(MNIST).graph
    with pytest.raises(ValueError, match="uint8"):
        forward(graph, np.zeros((1, 28, 28, 1), np.float32))
    with pytest.raises(ValueError, match="takes"):
        forward(graph, np.zeros((1, 28, 27, 1), np.uint8))
