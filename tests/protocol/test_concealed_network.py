"""A concealed model: the owner's two shares, whole inferences on them, and what a share alone or a wrong pair gives."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from blindsight.channel import memory_pair
from blindsight.cloud.own_key import concealed_side as cloud_side
from blindsight.helper.linear import concealed_side as helper_side
from blindsight.models import zoo
from blindsight.nn.concealed import admit, share_error
from blindsight.nn.ideal import run_values
from blindsight.nn.linear import error_bound
from blindsight.nn.model import Model
from blindsight.nn.network import Network
from blindsight.nn.plan import PlanError, Reveal
from blindsight.nn.planner import layers
from blindsight.nn.shares import ModelShare, conceal, split
from blindsight.nn.tiles import Conv
from blindsight.offline.make import layout, make_batch
from blindsight.offline.slot import Tape
from blindsight.ot.generate import Generator

PICTURES = np.load(zoo.pictures("mnist"))["x"][:2]


def mnist(mode: str) -> Model:
    model = Model.load(zoo.path("mnist"))
    reveal = Reveal(mode, model.plan.classes if mode == "logits" else 1)
    return Model(replace(model.plan, reveal=reveal), model.ints, model.graph)


def run_concealed(model: Model, pictures: np.ndarray) -> tuple[np.ndarray, list[dict[str, list[np.ndarray]]]]:
    """Opened results [N, count], and what each party saw opened: tensor name -> x - r, one a picture."""
    shares = split(model)
    rng = np.random.default_rng(5)
    flat = pictures.reshape(len(pictures), -1).astype(np.uint32)
    helper_pixels = rng.integers(0, 1 << 32, flat.shape, np.uint32)
    pixels, ends = (flat - helper_pixels, helper_pixels), memory_pair(timeout=60)
    results: list[list[np.ndarray]] = [[], []]
    views: list[dict[str, list[np.ndarray]]] = [{}, {}]

    def party(p: int) -> None:
        try:
            share = shares[p]
            network = Network(share.plan, share.tensors)
            linear = (cloud_side, helper_side)[p](share.plan, share.tensors)
            source, form = Generator(ends[p]), layout(network, p)
            for i, slot in enumerate(make_batch(ends[p], network, linear, source, len(flat))):
                slot = form.unpack(form.pack(slot), i)  # the material store's way
                for op, step in network._steps:
                    step.run = watch(op, type(step).run.__get__(step), views[p])
                results[p].append(network.run(ends[p], Tape(slot.draws), slot, pixels[p][i]))
        except BaseException:
            ends[p].close()
            raise

    def watch(op, run, seen):
        def watched(state):
            out = run(state)
            if op in network_plan.weighted:
                seen.setdefault(op.inputs[0], []).append(state.opened[op.inputs[0]].reshape(-1).copy())
            return out

        return watched

    network_plan = shares[0].plan
    other = threading.Thread(target=party, args=(1,))
    other.start()
    party(0)
    other.join()
    return np.array(results[0]) + np.array(results[1]), views


def test_logits_are_the_fixed_point_networks() -> None:
    model = mnist("logits")
    result, _ = run_concealed(model, PICTURES)
    logits = result.astype(np.int32).astype(np.int64)
    draws = [
        run_values(model.plan, model.ints, PICTURES[..., None], np.random.default_rng(i)) for i in range(24)
    ]
    mean, spread = np.mean(draws, axis=0), np.std(draws, axis=0)
    assert np.all(np.abs(logits - mean) <= 6 * spread + 8)  # the rounding of truncations, and E


def test_both_see_the_same_masked_tensors_and_no_value_twice() -> None:
    picture = np.repeat(PICTURES[:1], 2, axis=0)
    result, views = run_concealed(mnist("top1"), picture)
    assert result.tolist() == [[7], [7]]
    for name, opened in views[0].items():
        assert all(np.array_equal(a, b) for a, b in zip(opened, views[1][name], strict=True))
        assert np.mean(opened[0] == opened[1]) < 0.01, "the same mask served two inferences"
        if opened[0].size >= 512:
            assert 0.4 < np.mean(opened[0] / 2.0**32) < 0.6


def test_shares_add_up_and_each_alone_is_uniform() -> None:
    model = mnist("top1")
    for _ in range(3):
        shares = split(model)
        for name, value in model.ints.items():
            total = shares[0].tensors[name] + shares[1].tensors[name]
            assert np.array_equal(total.view(np.int32), value)
        for share in shares:
            counts = np.bincount(
                np.concatenate([t.reshape(-1) for t in share.tensors.values()]).view(np.uint8), minlength=256
            )
            expected = counts.sum() / 256
            chi = ((counts - expected) ** 2 / expected).sum()
            assert abs(chi - 255) < 6 * np.sqrt(2 * 255), "bytes of a share are not uniform"
    again = split(model)
    assert all(
        np.mean(again[p].tensors["conv1.weight"] == shares[p].tensors["conv1.weight"]) < 0.05 for p in (0, 1)
    )


def test_the_error_stays_within_what_the_plan_allowed_for() -> None:
    """Two cross terms miss by no more than `share_error` says, whatever the shares, and that fits the plan's truncations."""
    for name in ("mnist", "fashion", "cifar"):
        plan = conceal(Model.load(zoo.path(name))).plan
        admit(plan)
        for layer in layers(plan, plan.weighted, 3):
            op = layer.op
            uniform = np.random.default_rng(1).integers(-(1 << 31), 1 << 31, op.weight_shape, np.int64)
            term = error_bound(layer.cut, uniform, layer.ring)
            assert 1 < term <= share_error(Conv.of(op, plan.op(op.inputs[0]).shape)) < 4


def test_files_of_shares(tmp_path) -> None:
    cloud, helper = split(mnist("top1"))
    cloud.save(tmp_path / "m.cloud.share")
    helper.save(tmp_path / "m.helper.share")
    assert (tmp_path / "m.cloud.share").stat().st_mode & 0o777 == 0o600
    again = ModelShare.load(tmp_path / "m.cloud.share", 0)
    assert again.plan.hash == cloud.plan.hash and again.split == helper.split
    assert all(np.array_equal(again.tensors[n], v) for n, v in cloud.tensors.items())
    with pytest.raises(PlanError, match="share of the cloud"):
        ModelShare.load(tmp_path / "m.cloud.share", 1)
    data = (tmp_path / "m.cloud.share").read_bytes()
    for name, bad in {
        "cut": data[: len(data) // 2],
        "empty": b"",
        "model": zoo.path("mnist").read_bytes(),
    }.items():
        (tmp_path / name).write_bytes(bad)
        with pytest.raises(PlanError, match=name):
            ModelShare.load(tmp_path / name, 0)
    with pytest.raises(PlanError, match="no Blindsight model"):
        Model.load(tmp_path / "m.cloud.share")
    with pytest.raises(PlanError, match="holds weights"):
        from blindsight.nn.plan import load_plan

        load_plan(tmp_path / "m.helper.share")
