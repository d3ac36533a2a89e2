"""The cut's polynomial products equal the convolution mod 2^32, whatever the shape."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from blindsight.nn.cut import Block, Cut
from blindsight.nn.ops import Conv2d, Linear, Relu
from blindsight.nn.planner import Costs, choose
from blindsight.nn.tiles import Conv, axes
from blindsight.params import CONCEALED, LOGITS, RingParams


def negacyclic(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """x * w mod (X^N + 1, 2^32), schoolbook over the non-zero taps, exact in wrapping uint64."""
    n, out = len(x), np.zeros(len(x), np.uint64)
    twice = np.concatenate([-x.astype(np.uint64), x.astype(np.uint64)])  # twice[n - p :][:n] = X^p * x
    for p in np.flatnonzero(w):
        out += np.uint64(int(w[p]) % 2**64) * twice[n - p : 2 * n - p]
    return out.astype(np.uint32)


def direct(conv: Conv, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The convolution of (batch, channels, height, width) mod 2^32, tap by tap."""
    top, left, bottom, right = conv.padding
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right))).astype(np.uint64)
    (sh, sw), h, wd = conv.stride, conv.out_height, conv.out_width
    out = np.zeros((len(x), conv.groups, conv.outputs // conv.groups, h, wd), np.uint64)
    wg = w.astype(np.uint64).reshape(conv.groups, -1, *conv.weight_shape[1:])
    for k, l in np.ndindex(*conv.kernel):
        seen = padded[:, :, k : k + (h - 1) * sh + 1 : sh, l : l + (wd - 1) * sw + 1 : sw]
        seen = seen.reshape(len(x), conv.groups, -1, h, wd)
        out += np.einsum("bgcij,goc->bgoij", seen, wg[..., k, l])
    return out.astype(np.uint32).reshape(len(x), conv.outputs, h, wd)


def dense(cut: Cut, w: np.ndarray, block: Block) -> np.ndarray:
    """The weight polynomials [A, U, N]; no two values may go to one coefficient."""
    positions, values = cut.weights(w, block)
    out = np.zeros((len(values), len(positions), cut.n), np.int32)
    for u, row in enumerate(positions):
        real = np.flatnonzero(row >= 0)
        assert len(set(row[real])) == len(real) and not values[:, u, row < 0].any()
        out[:, u, row[real]] = values[:, u, real]
    return out


def through_polynomials(cut: Cut, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The layer by way of the cut, polynomials in the clear. Every output must be written exactly once."""
    flat = np.append(x.reshape(-1), np.uint32(0))  # index -1: zero
    polys = np.concatenate([flat[cut.inputs(t)] for t in range(cut.tiles)])
    assert len(polys) == cut.input_polynomials
    out, times = (
        np.zeros(cut.batch * cut.conv.out_size, np.uint32),
        np.zeros(cut.batch * cut.conv.out_size, int),
    )
    for block, tile in itertools.product(cut.blocks, range(cut.tiles)):
        weights, uses = dense(cut, w, block), cut.uses(block, tile)
        listed, outputs = cut.listed(block, tile), cut.outputs(block, tile)
        assert weights.shape == (block.a1 - block.a0, len(uses), cut.n)
        assert outputs.shape == (len(weights), len(listed))
        assert (np.diff(listed) > 0).all() and listed[0] >= 0 and listed[-1] < cut.n
        for a, answer in enumerate(weights):
            total = np.zeros(cut.n, np.uint32)
            for u, poly in enumerate(answer):
                total += negacyclic(polys[uses[u]], poly)
            out[outputs[a]] = total[listed]
            times[outputs[a]] += 1
    assert (times == 1).all()
    return out.reshape(cut.batch, cut.conv.outputs, cut.conv.out_height, cut.conv.out_width)


def check(cut: Cut, seed: int) -> None:
    rng, conv = np.random.default_rng(seed), cut.conv
    x = rng.integers(0, 2**32, (cut.batch, conv.channels, conv.height, conv.width), dtype=np.uint32)
    w = rng.integers(-(2**15), 2**15, conv.weight_shape, dtype=np.int16)
    np.testing.assert_array_equal(through_polynomials(cut, x, w), direct(conv, x, w))


@st.composite
def convs(draw: st.DrawFn) -> Conv:
    def size(lo: int, hi: int) -> int:
        return draw(st.integers(lo, hi))

    groups = size(1, 3)
    pad = (size(0, 4), size(0, 4), size(0, 4), size(0, 4))
    kernel, stride = (size(1, 5), size(1, 5)), (size(1, 3), size(1, 3))
    height, width = size(1, 12), size(1, 12)
    assume(height + pad[0] + pad[2] >= kernel[0] and width + pad[1] + pad[3] >= kernel[1])
    return Conv(groups * size(1, 3), height, width, groups * size(1, 3), kernel, stride, pad, groups)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(convs(), st.integers(1, 5), st.data())
def test_any_cut_that_fits_is_right(conv: Conv, batch: int, data: st.DataObject) -> None:
    rows, _ = axes(conv, batch)
    r, c = data.draw(st.integers(1, rows.length)), data.draw(st.integers(1, conv.out_width))
    aligned, cb, ob = data.draw(st.booleans()), data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    try:
        cut = Cut(conv, batch, 256, r, c, aligned, cb, ob)
    except ValueError:
        assume(False)
    check(cut, 1)


def test_every_small_shape_has_a_planned_cut_that_is_right() -> None:
    rng = random.Random(2)
    for seed in range(60):
        groups = rng.choice([1, 1, 2, 4])
        kernel = rng.choice([(1, 1), (3, 3), (5, 1), (2, 4)])
        conv = Conv(
            groups * rng.randint(1, 4),
            rng.randint(4, 20),
            rng.randint(4, 20),
            groups * rng.randint(1, 4),
            kernel,
            rng.choice([(1, 1), (2, 2), (1, 3)]),
            rng.choice([(0, 0, 0, 0), (1, 1, 1, 1), (0, 2, 1, 0)]),
            groups,
        )
        check(choose(conv, rng.choice([1, 2, 5, 16])), seed)


REAL = {
    "mnist 5x5": (Conv(1, 28, 28, 6, (5, 5), (1, 1), (2, 2, 2, 2)), 16),
    "resnet stem, eight rows": (Conv(3, 16, 224, 4, (7, 7), (2, 2), (3, 3, 3, 3)), 1),
    "1x1 stride 2": (Conv(8, 14, 14, 6, (1, 1), (2, 2)), 4),
    "vgg deep": (Conv(40, 4, 4, 24, (3, 3), (1, 1), (1, 1, 1, 1)), 16),
    "vgg deepest": (Conv(64, 2, 2, 40, (3, 3), (1, 1), (1, 1, 1, 1)), 16),
    "depthwise": (Conv(24, 14, 14, 24, (3, 3), (1, 1), (1, 1, 1, 1), 24), 2),
    "depthwise stride 2": (Conv(6, 28, 28, 6, (3, 3), (2, 2), (0, 0, 1, 1), 6), 1),
    "depthwise, a picture larger than a ring": (Conv(2, 56, 56, 2, (3, 3), (1, 1), (1, 1, 1, 1), 2), 1),
    "wider than a ring": (Conv(1, 2, 3000, 2, (2, 3), (1, 1), (1, 1, 1, 1)), 1),
    "one long row": (Conv(2, 1, 5000, 2, (1, 9), (1, 4), (0, 4, 0, 4)), 2),
    "linear": (Conv(300, 1, 1, 77), 16),
    "linear 10 x 3": (Conv(10, 1, 1, 3), 1),
    "linear wide": (Conv(5000, 1, 1, 10), 1),
    "a kernel larger than a ring": (Conv(2, 50, 50, 2, (49, 50)), 2),
    "a kernel row longer than a ring": (Conv(1, 2, 2200, 1, (1, 2199), (1, 1), (0, 1, 0, 0)), 1),
    "one number": (Conv(1, 1, 1, 1), 1),
    "only padding": (Conv(1, 1, 1, 2, (1, 1), (3, 3), (1, 1, 1, 1)), 2),
}


@pytest.mark.parametrize("name", REAL)
def test_layers_of_real_networks(name: str) -> None:
    conv, batch = REAL[name]
    check(choose(conv, batch), 3)


@pytest.mark.parametrize("ring", [LOGITS, CONCEALED], ids=lambda ring: ring.name)
@pytest.mark.parametrize("name", ["mnist 5x5", "1x1 stride 2", "vgg deepest", "depthwise stride 2", "linear"])
def test_larger_rings(name: str, ring: RingParams) -> None:
    conv, batch = REAL[name]
    cut = choose(conv, batch, Costs.of(ring))
    assert cut.n == 4096
    check(cut, 4)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Cut(Conv(4, 32, 32, 4, (3, 3)), 1, 2048, 30, 30, True, 2, 2)
    with pytest.raises(ValueError, match="groups"):
        Conv(3, 4, 4, 4, groups=2)
    with pytest.raises(ValueError, match="kernel"):
        Conv(3, 4, 4, 4, (5, 5))


def test_the_plan_op_gives_the_shape() -> None:
    common = {
        "out": "y",
        "inputs": ("x",),
        "scale": 0,
        "weight": "w",
        "bias": "b",
        "weight_bits": 8,
        "weight_scale": 0,
    }
    op = Conv2d(
        shape=(8, 5, 4),
        kernel=(3, 2),
        stride=(2, 3),
        padding=(1, 0, 1, 1),
        groups=2,
        bias_map=False,
        **common,
    )
    conv = Conv.of(op, (4, 10, 11))
    assert (conv.out_height, conv.out_width, conv.weight_shape) == (5, 4, (8, 2, 3, 2))
    assert Conv.of(Linear(shape=(10,), **common), (2048,)) == Conv(2048, 1, 1, 10)
    with pytest.raises(ValueError, match="not a linear layer"):
        Conv.of(Relu(out="y", inputs=("x",), shape=(10,), scale=0, f=1, m=16), (10,))
