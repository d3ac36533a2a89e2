"""Linear layers whose weights are shared between the servers: the product comes out."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from blindsight.channel import memory_pair
from blindsight.he.ring import answer_bytes
from blindsight.he.secret.linear import LayerKey
from blindsight.nn.concealed import ConcealedSide, admit, online_wide, share_error
from blindsight.nn.linear import online
from blindsight.nn.ops import Conv2d, Input, Linear, Output, Relu, Reshape
from blindsight.nn.plan import Plan, PlanError, Reveal
from blindsight.nn.planner import layers
from blindsight.nn.tiles import Conv
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
    errors = []
    for op in network.weighted:
        r = masks[0][op.inputs[0]] + masks[1][op.inputs[0]]
        truth = online(op, true[op.weight], r.reshape(batch, *network.op(op.inputs[0]).shape))
        error = (got[0][op.out] + got[1][op.out] - truth.reshape(batch, -1)).view(np.int32)
        bound = share_error(Conv.of(op, network.op(op.inputs[0]).shape))
        assert np.abs(error).max() <= bound < 4
        errors.append(error.reshape(-1))
    every = np.concatenate(errors)
    assert abs(every.mean()) < 0.25 and 0.2 < every.std() < 1  # rounding, without a bias


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


def test_plans_without_room_for_the_error_are_refused() -> None:
    """E <= 2^(f-4), as for every accumulator: f = 6 holds what a concealed layer may miss by, f = 5 does not."""
    good = plan()
    ops = list(good.ops)
    for f, fits in ((6, True), (5, False), (0, False)):
        ops[2] = replace(good.ops[2], f=f, m=16, scale=-f)
        for i in (3, 4, 5):
            ops[i] = replace(good.ops[i], scale=-f)
        changed = replace(good, ops=tuple(ops))
        if fits:
            admit(changed)
        else:
            with pytest.raises(PlanError, match=r"'a'.*compile the model again"):
                admit(changed)


def test_what_travels_is_rounded() -> None:
    """b of an encrypted mask, c1 and c0 of an answer: 73, 39 and 34 bits a coefficient."""
    key = LayerKey(CONCEALED, bytes(32))
    assert len(key.encrypt(np.zeros((2, 4096), np.int32))) == 32 + 2 * 4096 * 73 // 8
    assert answer_bytes(CONCEALED, 800) == (4096 * 39 + 800 * 34) // 8
    assert (CONCEALED.b_dropped, CONCEALED.c1_dropped, CONCEALED.c0_dropped) == (27, 61, 66)
