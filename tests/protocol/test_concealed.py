"""Linear layers whose weights are shared between the servers: the product comes out."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from blindsight.channel import memory_pair
from blindsight.he.secret.linear import LayerKey
from blindsight.nn.concealed import ConcealedSide, online_wide
from blindsight.nn.linear import online
from blindsight.nn.ops import Conv2d, Input, Linear, Output, Relu, Reshape
from blindsight.nn.plan import Plan, Reveal
from blindsight.nn.planner import layers
from blindsight.params import CONCEALED


def plan() -> Plan:
    x = Input(out="x", inputs=(), shape=(3, 6, 6), scale=0)
    stem = Conv2d(
        out="stem", inputs=("x",), shape=(4, 6, 6), scale=0, weight="stem.w", bias="stem.b", weight_bits=12,
        weight_scale=0, in_channels=3, kernel=(3, 3), stride=(1, 1), padding=(1, 1, 1, 1), groups=1, bias_map=False,
    )  # fmt: skip
    a = Relu(out="a", inputs=("stem",), shape=stem.shape, scale=0, f=0, m=16)
    flat = Reshape(out="flat", inputs=("a",), shape=(a.size,), scale=0)
    dense = Linear(
        out="dense", inputs=("flat",), shape=(5,), scale=0, weight="dense.w", bias="dense.b", weight_bits=12,
        weight_scale=0, in_features=a.size,
    )  # fmt: skip
    end = Output(out="logits", inputs=("dense",), shape=(5,), scale=0)
    return Plan("p", 6, 6, 3, "rgb888", (), Reveal(), (x, stem, a, flat, dense, end), deployment="concealed")


@pytest.mark.parametrize("batch", [1, 5])
def test_cross_terms_in_both_directions_give_the_product(batch: int) -> None:
    network = plan()
    rng = np.random.default_rng(batch)
    assert {layer.ring for layer in layers(network, network.weighted, batch)} == {CONCEALED}

    def uniform(shape: tuple[int, ...]) -> np.ndarray:
        return rng.integers(0, 2**32, shape, np.uint32)

    true = {op.weight: rng.integers(-2048, 2048, op.weight_shape, np.int16) for op in network.weighted}
    share = {name: uniform(w.shape) for name, w in true.items()}
    weights = [share, {name: w.astype(np.uint32) - share[name] for name, w in true.items()}]
    names = {op.inputs[0] for op in network.weighted}
    masks = [{name: uniform((batch, network.op(name).size)) for name in names} for _ in range(2)]
    ends, got = memory_pair(), [{}, {}]

    def run(party: int) -> None:
        side = ConcealedSide(network, weights[party], LayerKey)
        got[party] = side.batch(ends[party], network.weighted, batch, masks[party])

    other = threading.Thread(target=run, args=(1,))
    other.start()
    run(0)
    other.join()
    off = 0
    for op in network.weighted:
        r = masks[0][op.inputs[0]] + masks[1][op.inputs[0]]
        truth = online(op, true[op.weight], r.reshape(batch, *network.op(op.inputs[0]).shape))
        error = (got[0][op.out] + got[1][op.out] - truth.reshape(batch, -1)).view(np.int32)
        assert np.abs(error).max() <= 1
        off += np.count_nonzero(error)
    assert off <= 3 + 0.02 * batch * 149


def test_wide_weights_multiply_mod_2_to_the_32() -> None:
    rng = np.random.default_rng(3)
    dense = plan_dense()
    w = rng.integers(0, 2**32, dense.weight_shape, np.uint32)
    w[0, :4] = [0x80000000, 0x7FFF8000, 0xFFFFFFFF, 0x00008000]
    d = rng.integers(0, 2**32, (3, dense.in_features), np.uint32)
    want = (d.astype(np.uint64) @ w.T.astype(np.uint64)).astype(np.uint32)
    np.testing.assert_array_equal(online_wide(dense, w, d), want)


def plan_dense() -> Linear:
    return Linear(
        out="y", inputs=("x",), shape=(5,), scale=0, weight="w", bias="b", weight_bits=12, weight_scale=0,
        in_features=40,
    )  # fmt: skip


def test_cloud_owned_plans_keep_their_ring() -> None:
    owned = replace(plan(), deployment="cloud-owned")
    assert all(layer.ring != CONCEALED for layer in layers(owned, owned.weighted, 1))
