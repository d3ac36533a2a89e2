"""The homomorphic linear layers between two parties: shares of W*r, within the bound, whatever the layers."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blindsight.channel import ChannelError, ProtocolError, memory_pair
from blindsight.channel.counting import Recorder
from blindsight.he.secret.linear import LayerKey
from blindsight.nn import planner
from blindsight.nn.linear import CloudSide, HelperSide, error_bound, online, worst_error
from blindsight.nn.ops import Add, Conv2d, Input, Linear, Op, Output, Relu, Reshape
from blindsight.nn.plan import Plan, Reveal
from blindsight.nn.planner import exposed, layers
from blindsight.params import LINEAR, LOGITS, RingParams


def conv(
    out: str, source: Op, outputs: int, kernel: int, stride: int = 1, pad: int = 0, groups: int = 1
) -> Conv2d:
    c, h, w = source.shape
    size = [(x + 2 * pad - kernel) // stride + 1 for x in (h, w)]
    return Conv2d(
        out=out, inputs=(source.out,), shape=(outputs, *size), scale=source.scale, weight=f"{out}.w",
        bias=f"{out}.b", weight_bits=12, weight_scale=0, in_channels=c, kernel=(kernel, kernel),
        stride=(stride, stride), padding=(pad,) * 4, groups=groups, bias_map=False,
    )  # fmt: skip


def relu(out: str, source: Op) -> Relu:
    return Relu(out=out, inputs=(source.out,), shape=source.shape, scale=source.scale, f=0, m=16)


def small_plan(mode: str = "top1") -> Plan:
    """A residual network with every kind of linear layer: stem, depthwise, strided 1 x 1 beside a 3 x 3,
    dense.
    """
    x = Input(out="x", inputs=(), shape=(3, 12, 12), scale=0)
    stem = conv("stem", x, 8, 5, 2, 2)
    a = relu("a", stem)
    deep = conv("deep", a, 8, 3, 1, 1, groups=8)
    b = relu("b", deep)
    main, short = conv("main", b, 12, 3, 2, 1), conv("short", b, 12, 1, 2)
    both = Add(out="both", inputs=("main", "short"), shape=main.shape, scale=0, shift=(0, 0))
    c = relu("c", both)
    flat = Reshape(out="flat", inputs=("c",), shape=(c.size,), scale=0)
    dense = Linear(
        out="dense", inputs=("flat",), shape=(10,), scale=0, weight="dense.w", bias="dense.b", weight_bits=12,
        weight_scale=0, in_features=c.size,
    )  # fmt: skip
    end = Output(out="logits", inputs=("dense",), shape=(10,), scale=0)
    return Plan(
        name="small", height=12, width=12, channels=3, pixel_format="rgb888", labels=(),
        reveal=Reveal(mode, 1 if mode == "top1" else 10),
        ops=(x, stem, a, deep, b, main, short, both, c, flat, dense, end),
    )  # fmt: skip


def both(cloud: Callable[[], Any], helper: Callable[[], Any]) -> tuple[Any, Any]:
    got: dict[str, Any] = {}

    def other() -> None:
        try:
            got["helper"] = helper()
        except BaseException as error:
            got["error"] = error

    thread = threading.Thread(target=other)
    thread.start()
    mine = cloud()
    thread.join()
    if "error" in got:
        raise got["error"]
    return mine, got["helper"]


def material(plan: Plan, batch: int, seed: int, ends: Any = None) -> tuple[dict, dict, dict, dict]:
    """(weights, masks, cloud's shares, helper's shares) with real encryption."""
    rng = np.random.default_rng(seed)
    weights = {
        op.weight: rng.integers(-(2**11), 2**11, op.weight_shape, dtype=np.int16) for op in plan.weighted
    }
    masks = {
        name: rng.integers(0, 2**32, (batch, plan.op(name).size), dtype=np.uint32)
        for name in {op.inputs[0] for op in plan.weighted}
    }
    cloud, helper = ends or memory_pair()
    left, right = CloudSide(plan, weights), HelperSide(plan, LayerKey)
    shares = both(
        lambda: left.batch(cloud, plan.weighted, batch),
        lambda: right.batch(helper, plan.weighted, batch, masks),
    )
    return weights, masks, *shares


def errors(plan: Plan, weights: dict, masks: dict, cloud: dict, helper: dict) -> dict[str, int]:
    """The largest error of each layer's shares, in units of the accumulator."""
    worst = {}
    for op in plan.weighted:
        r = masks[op.inputs[0]]
        truth = online(op, weights[op.weight], r.reshape(len(r), *plan.op(op.inputs[0]).shape))
        off = (cloud[op.out] + helper[op.out] - truth.reshape(len(r), -1)).view(np.int32)
        worst[op.out] = int(np.abs(off.astype(np.int64)).max())
    return worst


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_shares_add_up_to_the_product_within_the_bound(batch: int) -> None:
    plan = small_plan()
    weights, masks, cloud, helper = material(plan, batch, batch)
    worst = errors(plan, weights, masks, cloud, helper)
    for layer in layers(plan, plan.weighted, batch):
        assert cloud[layer.op.out].shape == (batch, layer.op.size)
        weight = weights[layer.op.weight]
        assert worst[layer.op.out] <= error_bound(layer.cut, weight) <= worst_error(layer.cut.conv, weight)
    assert max(worst.values()) <= 4  # measured; the bound is looser


def test_many_passes_and_messages_give_the_same_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "PASS_POLYNOMIALS", 3)
    monkeypatch.setattr(planner, "CALL_ANSWERS", 2)
    plan = small_plan()
    wide = conv("wide", plan.op("x"), 5, 3, 1, 1)
    assert max(errors(plan, *material(plan, 16, 7)).values()) <= 4
    tall = layers(plan, [wide], 16)[0]
    assert tall.cut.tiles > 1 and len(list(tall.passes())) > 1


def test_one_share_alone_says_nothing_of_the_product() -> None:
    plan = small_plan()
    _, _, cloud, helper = material(plan, 16, 5)
    for share in (cloud, helper):
        bits = np.unpackbits(np.concatenate([x.reshape(-1) for x in share.values()]).view(np.uint8))
        assert abs(bits.mean() - 0.5) < 4 * 0.5 / np.sqrt(bits.size)


def test_the_bytes_are_what_the_planner_says() -> None:
    plan, batch = small_plan(), 16
    ends = tuple(Recorder(end) for end in memory_pair())
    material(plan, batch, 1, ends)
    todo = layers(plan, plan.weighted, batch)
    planned = [layer.price for layer in todo]
    up, down = sum(p.up for p in planned), sum(p.down for p in planned)
    assert up <= ends[1].stats.sent <= up + 14000  # the key, frame headers
    assert down <= ends[0].stats.sent <= down + 2000


def test_logits_take_the_finer_ring() -> None:
    plan = small_plan("logits")
    assert exposed(plan) == {"dense"} and exposed(small_plan()) == set()
    rings = {layer.op.out: layer.ring for layer in layers(plan, plan.weighted, 2)}
    assert rings.pop("dense") == LOGITS and set(rings.values()) == {LINEAR}
    worst = errors(plan, *material(plan, 2, 9))
    assert worst["dense"] <= 1


def test_the_helper_needs_its_masks() -> None:
    with pytest.raises(ValueError, match="masks"):
        HelperSide(small_plan(), LayerKey).batch(memory_pair()[1], [], 1, None)


def test_servers_that_cut_differently_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = small_plan()
    cloud, helper = memory_pair()
    todo = layers(plan, plan.weighted, 2)
    cloud.send(bytes(16), bytes(32))
    with pytest.raises(ProtocolError, match="same version"):
        HelperSide(plan, LayerKey).batch(helper, [layer.op for layer in todo], 2, {})


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.data())
def test_any_convolution_under_encryption(data: st.DataObject) -> None:
    def size(lo: int, hi: int) -> int:
        return data.draw(st.integers(lo, hi))

    x = Input(out="x", inputs=(), shape=(3, size(4, 40), size(4, 40)), scale=0)
    groups = data.draw(st.sampled_from([1, 1, 3]))
    layer = conv("y", x, groups * size(1, 6), size(1, 4), size(1, 3), size(0, 2), groups)
    flat = Reshape(out="flat", inputs=("y",), shape=(layer.size,), scale=0)
    end = Output(out="logits", inputs=("flat",), shape=(layer.size,), scale=0)
    _, h, w = x.shape
    plan = Plan("any", h, w, 3, "rgb888", (), Reveal(), (x, layer, flat, end))
    batch = size(1, 16)
    weights, *rest = material(plan, batch, size(0, 2**32))
    worst = errors(plan, weights, *rest)["y"]
    assert worst <= error_bound(layers(plan, [layer], batch)[0].cut, weights["y.w"])


@pytest.mark.parametrize("fails", [False, True])
def test_every_batch_has_its_own_key_and_wipes_it(fails: bool) -> None:
    plan, made = small_plan(), []

    def make_key(ring: RingParams, seed: bytes) -> LayerKey:
        made.append(LayerKey(ring, seed))
        return made[-1]

    names = {op.inputs[0] for op in plan.weighted}
    masks = {name: np.zeros((2, plan.op(name).size), np.uint32) for name in names}
    weights = {op.weight: np.zeros(op.weight_shape, np.int16) for op in plan.weighted}
    for _ in range(2):
        cloud, helper = memory_pair(timeout=5.0)
        side = HelperSide(plan, make_key)

        def own(side: HelperSide = side, helper: Any = helper) -> None:
            if fails:
                with pytest.raises(ChannelError):
                    side.batch(helper, plan.weighted, 2, masks)
            else:
                side.batch(helper, plan.weighted, 2, masks)

        def evaluate(cloud: Any = cloud) -> None:
            if fails:  # goes when the helper has made its key
                with pytest.raises(KeyError):
                    CloudSide(plan, {}).batch(cloud, plan.weighted, 2)
                cloud.close()
            else:
                CloudSide(plan, weights).batch(cloud, plan.weighted, 2)

        both(evaluate, own)
    assert len(made) == 2 and made[0].public != made[1].public
    for key in made:
        with pytest.raises(RuntimeError, match="wiped"):
            key.encrypt(np.zeros((1, 2048), np.int32))
