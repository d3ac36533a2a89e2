"""Whole networks between two parties: bit for bit the fixed-point network given the same shares, and the float network's answers."""

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn

from blindsight.channel import memory_pair
from blindsight.cloud.own_key import concealed_side as cloud_concealed
from blindsight.helper.linear import concealed_side as helper_concealed
from blindsight.helper.linear import helper_side
from blindsight.models import compile_model
from blindsight.nn import floatnet
from blindsight.nn.ideal import run_shares, run_values
from blindsight.nn.linear import CloudSide, error_bound, layers
from blindsight.nn.model import Model
from blindsight.nn.network import Network
from blindsight.nn.plan import Plan
from blindsight.nn.shares import split
from blindsight.offline.make import make_batch
from blindsight.offline.slot import Tape
from blindsight.ot.generate import Generator


@dataclass
class Recorded:
    """What chance decided in a secure run, in the form `nn.ideal` takes it."""

    shares: dict[str, np.ndarray] = field(default_factory=dict)
    errors: dict[str, np.ndarray] = field(default_factory=dict)

    def helper(self, op):
        return self.shares[op.out]

    def error(self, op):
        return self.errors[op.out]


def run_secure(model, pictures: np.ndarray, batch: int):
    """Results [N, count] of a secure run, and each party's share of every tensor, picture by picture."""
    rng = np.random.default_rng(3)
    flat = pictures.reshape(len(pictures), -1).astype(np.uint32)
    helper_pixels = rng.integers(0, 1 << 32, flat.shape, dtype=np.uint32)
    pixels = (flat - helper_pixels, helper_pixels)
    ends = memory_pair(timeout=60)
    out: list[list] = [[], []]
    failures = []

    def party(p: int) -> None:
        try:
            plan = Plan.from_json(model.plan.to_json())
            network = Network(plan, model.ints if p == 0 else None)
            linear = CloudSide(plan, model.ints) if p == 0 else helper_side(plan)
            source = Generator(ends[p])
            for start in range(0, len(flat), batch):
                slots = make_batch(ends[p], network, linear, source, min(batch, len(flat) - start))
                for i, slot in enumerate(slots, start):
                    seen: dict[str, np.ndarray] = {}
                    for op, step in network._steps:
                        step.run = record(op.out, type(step).run.__get__(step), seen)
                    share = network.run(ends[p], Tape(slot.draws), slot, pixels[p][i])
                    out[p].append((share, seen))
        except Exception as error:
            failures.append(error)
            ends[p].close()

    def record(name, run, seen):
        def wrapped(state):
            seen[name] = run(state)
            return seen[name]

        return wrapped

    helper = threading.Thread(target=party, args=(1,))
    helper.start()
    party(0)
    helper.join()
    if failures:
        raise failures[0]
    return out, pixels


class Everything(nn.Module):
    """Residual addition, concatenation, groups, depthwise, strides, both poolings, batch norm, functional forms."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.point = nn.Conv2d(8, 8, 1)
        self.down = nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=2)
        self.side = nn.Conv2d(8, 4, 1, stride=2)
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        self.head = nn.Linear(16 + 0, 5)

    def forward(self, x):
        x = self.stem(x)
        x = torch.relu(x + self.point(torch.relu(self.depthwise(x))))
        x = torch.cat([torch.relu(self.down(x)), torch.relu(self.side(x))], 1)
        x = self.pool(x)
        return self.head(nn.functional.avg_pool2d(x, 3).flatten(1))


class Vgg(nn.Sequential):
    def __init__(self):
        super().__init__(
            *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2, 2)),
            *(nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2, 2)),
            *(nn.Flatten(), nn.Dropout(0.5), nn.Linear(144, 32), nn.ReLU(), nn.Linear(32, 5)),
        )


def compiled(make: type[nn.Module], reveal: str):
    torch.manual_seed(4)
    module = make()
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.1)
            m.running_var.uniform_(0.5, 2)
    rng = np.random.default_rng(9)
    pictures = rng.integers(0, 256, (200, 12, 12, 3), dtype=np.uint8)
    made = compile_model(
        module.eval(), pictures, name="net", mean=(0.5, 0.4, 0.5), std=(0.25, 0.2, 0.3), reveal=reveal
    )
    return made.model, pictures


@pytest.mark.parametrize("module", [Everything, Vgg])
def test_secure_run_is_the_fixed_point_network_bit_for_bit(module):
    model, pictures = compiled(module, "logits")
    plan = model.plan
    out, pixels = run_secure(model, pictures[:3], batch=2)
    bounds = {
        layer.op.out: error_bound(layer.cut, model.weight(layer.op), layer.ring)
        for layer in layers(plan, plan.weighted, 2)
    }
    for i in range(3):
        (y0, cloud), (y1, helper) = out[0][i], out[1][i]
        tape = Recorded({plan.ops[0].out: pixels[1][i].reshape(1, -1), **helper})
        x = [p[i].reshape(plan.height, plan.width, plan.channels).transpose(2, 0, 1) for p in pixels]
        sums = {plan.ops[0].out: (x[0] + x[1])} | {n: cloud[n] + helper[n] for n in cloud}
        for op in plan.weighted:
            exact = exact_accumulator(model, op, sums[op.inputs[0]])
            tape.errors[op.out] = (sums[op.out] - exact).astype(np.int32).astype(np.int64)
            assert np.abs(tape.errors[op.out]).max() <= bounds[op.out]
        ideal = run_shares(plan, model.ints, x[0], x[1], tape)
        assert np.array_equal(ideal[0], y0) and np.array_equal(ideal[1], y1)


def exact_accumulator(model, op, x: np.ndarray) -> np.ndarray:
    from blindsight.nn.ideal import _weighted, signed
    from blindsight.nn.kernels import exact_matmul

    return (_weighted(op, model.ints, signed(x)[None], exact_matmul)[0] & 0xFFFFFFFF).astype(np.uint32)


@pytest.mark.parametrize("module", [Everything, Vgg])
def test_top1_is_the_float_networks(module):
    model, pictures = compiled(module, "top1")
    out, _ = run_secure(model, pictures[:24], batch=8)
    secure = np.array([a[0] + b[0] for a, b in zip(out[0], out[1], strict=True)])[:, 0]
    logits = floatnet.forward(model.graph, pictures[:24])
    fixed = (
        run_values(model.plan, model.ints, pictures[:24], np.random.default_rng(1))
        / 2.0**model.plan.output_scale
    )
    noise = 4 * np.abs(fixed - logits).max()
    ranked = np.sort(logits, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > noise
    assert clear.sum() >= 8
    assert np.array_equal(secure[clear], logits.argmax(axis=1)[clear])


def test_each_share_of_the_result_is_uniform_in_the_top_bits():
    """A party's own share of a revealed index says nothing of it: high halves spread over the whole range."""
    model, pictures = compiled(Vgg, "top1")
    out, _ = run_secure(model, np.repeat(pictures[:1], 32, axis=0), batch=16)
    for party in (0, 1):
        values = np.array([share[0] for share, _ in out[party]], np.float64) / 2**32
        assert len(set(values)) == 32 and 0.25 < values.mean() < 0.75


@pytest.mark.parametrize("deployment", ["cloud-owned", "concealed"])
def test_lengths_do_not_depend_on_the_weights(deployment, two_parties):
    """One plan, four sets of weights, all zeros among them: the same messages to the byte, offline and online."""
    model, _ = compiled(Vgg, "top1")
    rng = np.random.default_rng(2)
    most = {op.weight: 2 ** (op.weight_bits - 1) - 1 for op in model.plan.weighted}
    sets = {
        "own": model.ints,
        "zero": {name: np.zeros_like(w) for name, w in model.ints.items()},
        "most": {name: np.full_like(w, most.get(name, 1000)) for name, w in model.ints.items()},
        "other": {name: rng.permutation(w.reshape(-1)).reshape(w.shape) for name, w in model.ints.items()},
    }
    lengths = {}
    for name, ints in sets.items():
        shares = split(Model(model.plan, ints, model.graph)) if deployment == "concealed" else None

        def party(channel, ints=ints, shares=shares):
            p = channel.party
            if shares:
                plan, tensors = shares[p].plan, shares[p].tensors
                network = Network(plan, tensors)
                linear = (cloud_concealed, helper_concealed)[p](plan, tensors)
            else:
                network = Network(model.plan, ints if p == 0 else None)
                linear = CloudSide(model.plan, ints) if p == 0 else helper_side(model.plan)
            (slot,) = make_batch(channel, network, linear, Generator(channel), 1)
            offline = len(channel.sent)
            network.run(channel, Tape(slot.draws), slot, np.zeros(432, np.uint32))
            sent = [len(message) for message in channel.sent]
            return sent[:offline], sent[offline:]

        lengths[name] = [result for result, _ in two_parties(party)]
    assert all(len(online) > 10 for _, online in lengths["own"])
    assert all(found == lengths["own"] for found in lengths.values())
