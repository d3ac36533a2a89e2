"""The planner: never worse than trying everything, a few megabytes for VGG-16, the same at both parties."""

import itertools
import math

import numpy as np
import pytest

from blindsight.he.error import answer_error
from blindsight.nn.cut import Cut
from blindsight.nn.linear import error_bound, worst_error
from blindsight.nn.ops import Conv2d, Input, Output, Reshape
from blindsight.nn.plan import Plan, Reveal
from blindsight.nn.planner import Costs, choose, explain, price
from blindsight.nn.tiles import Conv, axes
from blindsight.params import CONCEALED, LINEAR, LOGITS

PAD1 = (1, 1, 1, 1)


def vgg16(size: int, dense: tuple[int, ...]) -> list[Conv]:
    out, channels = [], 3
    for count, width in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(count):
            out.append(Conv(channels, size, size, width, (3, 3), (1, 1), PAD1))
            channels = width
        size //= 2
    sizes = (channels * size * size, *dense)
    return out + [Conv(a, 1, 1, b) for a, b in itertools.pairwise(sizes)]


def resnet18() -> list[Conv]:
    out, channels, size = [Conv(3, 224, 224, 64, (7, 7), (2, 2), (3, 3, 3, 3))], 64, 56
    for width in (64, 128, 256, 512):
        stride = 1 if width == 64 else 2
        out.append(Conv(channels, size, size, width, (3, 3), (stride, stride), PAD1))
        if stride == 2:
            out.append(Conv(channels, size, size, width, (1, 1), (2, 2)))
        size //= stride
        out += [Conv(width, size, size, width, (3, 3), (1, 1), PAD1)] * 3
        channels = width
    return [*out, Conv(512, 1, 1, 1000)]


def totals(network: list[Conv], batch: int) -> tuple[float, float]:
    """(megabytes, seconds of one core) an image."""
    prices = [price(choose(conv, batch), Costs()) for conv in network]
    return sum(p.bytes for p in prices) / batch / 1e6, sum(p.work for p in prices) / batch


@pytest.mark.parametrize(
    ("network", "batch", "megabytes"),
    [(vgg16(32, (512, 512, 10)), 16, 8.0), (vgg16(224, (4096, 4096, 1000)), 1, 275.0), (resnet18(), 1, 70.0)],
    ids=["vgg16", "vgg16-224", "resnet18"],
)
def test_networks_stay_within_their_bytes(network: list[Conv], batch: int, megabytes: float) -> None:
    size, work = totals(network, batch)
    assert size <= megabytes and work <= 0.1 * megabytes


def test_the_batch_and_the_balance_pay() -> None:
    network = vgg16(32, (512, 512, 10))
    assert totals(network, 16)[0] < 0.6 * totals(network, 1)[0]
    conv = Conv(512, 4, 4, 512, (3, 3), (1, 1), PAD1)
    single = Cut(conv, 1, 2048, 4, 4, True, 81, 1)  # one output channel in an answer
    assert price(choose(conv, 1), Costs()).bytes < 0.5 * price(single, Costs()).bytes


@pytest.mark.parametrize(
    ("conv", "batch"),
    [
        (Conv(12, 6, 6, 20, (3, 3), (1, 1), PAD1), 4),
        (Conv(5, 9, 7, 30, (2, 3), (2, 2), (0, 1, 1, 0)), 3),
        (Conv(8, 10, 10, 8, (3, 3), (1, 1), PAD1, 8), 2),
        (Conv(90, 1, 1, 70), 8),
    ],
)
def test_no_cut_is_cheaper(conv: Conv, batch: int) -> None:
    costs = Costs(n=256)
    best = price(choose(conv, batch, costs), costs).seconds
    rows, cols = axes(conv, batch)
    for r, c, aligned in itertools.product(
        range(1, rows.length + 1), range(1, cols.length + 1), (True, False)
    ):
        if aligned and r > conv.out_height:
            continue
        try:
            slots = 256 // Cut(conv, batch, 256, r, c, aligned, 1, 1).slot
        except ValueError:
            continue
        for cb in range(1, slots + 1):
            cut = Cut(conv, batch, 256, r, c, aligned, cb, slots // cb)
            assert best <= price(cut, costs).seconds * 1.0001, (r, c, aligned, cb)


@pytest.mark.parametrize("ring", [LINEAR, LOGITS, CONCEALED])
def test_every_ring_has_its_costs(ring) -> None:
    costs = Costs.of(ring)
    cut = choose(Conv(64, 8, 8, 64, (3, 3), (1, 1), PAD1), 16, costs)
    p = price(cut, costs)
    assert cut.n == ring.n
    assert p.up == 32 + p.inputs * ring.n * (ring.b_bits or 50 * len(ring.primes)) // 8
    assert p.down == p.answers * ring.n * ring.c1_bits // 8 + 16 * 64 * 64 * ring.c0_bits // 8


def test_the_error_bound_counts_packed_channels_once_a_norm() -> None:
    conv = Conv(4, 1, 1, 6)
    weight = np.arange(-12, 12).reshape(6, 4)
    for ob in (1, 2, 4):
        cut = Cut(conv, 1, 2048, 1, 1, True, 4, ob)
        rows = weight.astype(float)
        two = max(math.sqrt((rows[i : i + ob] ** 2).sum()) for i in range(0, 6, ob))
        want = answer_error(LINEAR, float(np.abs(rows).sum(axis=1).max()), two)
        assert error_bound(cut, weight) == pytest.approx(want, rel=1e-12)
    assert worst_error(conv, weight) >= max(error_bound(choose(conv, b), weight) for b in (1, 5, 16))


def test_explain_names_every_layer() -> None:
    x = Input(out="x", inputs=(), shape=(1, 8, 8), scale=0)
    conv = Conv2d(
        out="stem", inputs=("x",), shape=(2, 4, 4), scale=0, weight="w", bias="b", weight_bits=8, weight_scale=0,
        in_channels=1, kernel=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1), groups=1, bias_map=False,
    )  # fmt: skip
    flat = Reshape(out="flat", inputs=("stem",), shape=(32,), scale=0)
    end = Output(out="logits", inputs=("flat",), shape=(32,), scale=0)
    plan = Plan("p", 8, 8, 1, "gray8", (), Reveal("top1", 1), (x, conv, flat, end))
    lines = explain(plan, 4).splitlines()
    assert lines[1].startswith("stem") and "1x8x8 3x3/2 2" in lines[1]
    p = price(choose(Conv(1, 8, 8, 2, (3, 3), (2, 2), PAD1), 4, Costs.of(LINEAR)), Costs.of(LINEAR))
    assert f"{p.up / 4 / 1e3:.1f}" in lines[1] and f"{p.down / 4 / 1e6:.2f} MB down" in lines[2]
