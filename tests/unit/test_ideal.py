"""The fixed-point network on shares and on values: the same function, within the documented error of the float one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blindsight.models import zoo
from blindsight.nn import kernels
from blindsight.nn.floatnet import forward
from blindsight.nn.ideal import RandomTape, run_shares, run_values, signed
from blindsight.nn.model import Model
from blindsight.nn.ops import Input, Op, ReducedOp, Relu, Trunc, WeightedOp
from blindsight.nn.plan import Output, Plan, Reshape, Reveal

MNIST = Model.load(zoo.path("mnist"))
SOME = {"vgg16": 100}  # pictures; the long test takes 500 through the real protocol


def mnist_pictures(count: int) -> np.ndarray:
    return np.load(zoo.pictures("mnist"))["x"][:count, :, :, None]


@pytest.mark.parametrize("name", zoo.names())
def test_zoo_agrees_with_its_float_network(name: str) -> None:
    model, data = Model.load(zoo.path(name)), np.load(zoo.pictures(name))
    x = data["x"] if data["x"].ndim == 4 else data["x"][..., None]
    x, y = x[: SOME.get(name)], data["y"][: SOME.get(name)]
    wanted = forward(model.graph, x).argmax(1)
    ours = run_values(model.plan, model.ints, x, np.random.default_rng(3)).argmax(1)
    assert (ours == wanted).mean() >= 0.99
    loss = (wanted == y).mean() - (ours == y).mean()
    assert loss <= max(0.005, 1 / len(y))


def split(x: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    helper = rng.integers(0, 1 << 32, x.shape, np.uint32)
    return x.astype(np.uint32) - helper, helper


@pytest.mark.parametrize("most", [0, 3])
def test_shares_and_values_compute_the_same_function(most: int) -> None:
    """Logits from shares lie within what the truncations may move those from values; errors of HE included."""
    rng = np.random.default_rng(7)
    x = mnist_pictures(6)
    by_value = np.stack([run_values(MNIST.plan, MNIST.ints, x, np.random.default_rng(s)) for s in range(8)])
    for i in range(len(x)):
        shares = run_shares(
            MNIST.plan, MNIST.ints, *split(x[i].transpose(2, 0, 1), rng), RandomTape(rng, most)
        )
        logits = signed(shares[0] + shares[1])
        middle, spread = by_value[:, i].mean(0), np.ptp(by_value[:, i], axis=0).max()
        assert np.abs(logits - middle).max() <= 3 * spread + 50
        assert logits.argmax() == middle.argmax()


def reduced(op: type[ReducedOp], f: int, m: int) -> Plan:
    ops: list[Op] = [
        Input(out="x", inputs=(), shape=(1, 1, 2), scale=0),
        op(out="y", inputs=("x",), shape=(1, 1, 2), scale=-f, f=f, m=m),
    ]

    ops.append(Reshape(out="v", inputs=("y",), shape=(2,), scale=-f))
    ops.append(Output(out="z", inputs=("v",), shape=(2,), scale=-f))
    return Plan("p", 1, 2, 1, "gray8", (), Reveal(), tuple(ops))


@given(st.integers(-(2**20), 2**20), st.integers(0, 2**32 - 1), st.integers(0, 12), st.booleans())
@settings(max_examples=300, deadline=None)
def test_truncation_on_shares_is_floor_or_floor_plus_one(x: int, helper: int, f: int, relu: bool) -> None:
    m = 16
    if not abs(x) < (1 << (m - 2 + f)) - (1 << f):
        return
    h = np.full((1, 1, 2), helper, np.uint32)
    c = np.full((1, 1, 2), x & 0xFFFFFFFF, np.uint32) - h
    y0, y1 = run_shares(reduced(Relu if relu else Trunc, f, m), {}, c, h, RandomTape())
    y = int(signed(y0 + y1)[0])
    low = x >> f
    allowed = {low, low + 1} if f else {low}
    assert y in ({max(v, 0) for v in allowed} if relu else allowed)
    if x >= 0:
        assert y >= 0


def test_truncation_rounds_as_often_as_documented() -> None:
    """P(floor + 1) = (low bits + 1) / 2^f, with uniform shares and in the simulation on values alike."""
    f, x, n = 4, 5 * 16 + 9, 20000
    rng = np.random.default_rng(1)
    h = rng.integers(0, 1 << 32, n, np.uint32)
    c = np.uint32(x) - h
    ups = (((c + np.uint32(16)) >> np.uint32(f)) + (h >> np.uint32(f))) & np.uint32((1 << 28) - 1)
    assert set(np.unique(ups)) == {5, 6}
    values = run_values(
        reduced(Trunc, f, 16), {}, np.full((n // 2, 1, 2, 1), x, np.uint8), np.random.default_rng(2)
    )
    for seen in (ups, values):
        assert abs((np.asarray(seen) == 6).mean() - 10 / 16) < 0.02


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_exact_products_wrap_as_the_ring_does(seed: int, outs: int, ins: int) -> None:
    rng = np.random.default_rng(seed)
    w = rng.integers(-(1 << 15), 1 << 15, (outs, ins), np.int64)
    x = rng.integers(-(1 << 31), 1 << 31, (ins, 4), np.int64)
    wanted = [[sum(int(a) * int(b) for a, b in zip(r, c, strict=True)) % 2**32 for c in x.T] for r in w]
    assert np.array_equal(kernels.exact_matmul(w, x), np.array(wanted))


def test_no_value_leaves_its_bounds_on_test_pictures() -> None:
    """Before each truncation |x| < 2^(m-1+f) - 2^f, and every accumulator stays below 2^30."""
    limits = {op.inputs[0]: op for op in MNIST.plan if isinstance(op, ReducedOp)}

    def tap(op: Op, values: np.ndarray) -> None:
        if isinstance(op, WeightedOp):
            assert np.abs(values).max() < 1 << 30
        after = limits.get(op.out)
        if after is not None:
            assert np.abs(values).max() < (1 << (after.m - 1 + after.f)) - (1 << after.f)

    run_values(MNIST.plan, MNIST.ints, mnist_pictures(100), np.random.default_rng(0), tap=tap)
