"""The secure run equals the ideal network bit for bit, given the same shares: every layer of real networks."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blindsight.channel import Channel
from blindsight.models import compile_model, zoo
from blindsight.nn.ideal import run_shares
from blindsight.nn.linear import online
from blindsight.nn.model import Model
from blindsight.nn.network import Network
from blindsight.nn.ops import Op, WeightedOp
from blindsight.nn.plan import Reveal
from blindsight.nn.steps import Run, Step
from blindsight.ot.ideal import dealt_pair

DATA = Path(zoo.HERE).parent / "data"


class Mixed(nn.Module):
    """Every kind of operation: strides, groups, both pools, a residual sum, a concatenation, a lone truncation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1, groups=4)
        self.short, self.last = nn.Conv2d(8, 8, 1), nn.Conv2d(24, 6, 3, 2, bias=False)
        self.first, self.second = nn.Linear(54, 20), nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        y = F.relu(self.deep(x) + self.short(x))
        x = torch.cat(
            [F.max_pool2d(y + x, 3, 2, 1), F.avg_pool2d(y, 2), F.max_pool2d(F.relu(self.short(y)), 2)], 1
        )
        return self.second(self.first(F.relu(self.last(x)).flatten(1)))


def mixed() -> Model:
    torch.manual_seed(5)
    x = np.load(DATA / "cifar.npz")["x"]
    return compile_model(Mixed(), x[:64], name="mixed", mean=0.45, std=0.25, weight_bits=10).model


MODELS: dict[str, Callable[[], Model]] = {
    "mnist": lambda: Model.load(zoo.path("mnist")),
    "fashion": lambda: Model.load(zoo.path("fashion")),
    "mixed": mixed,
}


@dataclass
class Half:
    """One party's material."""

    masks: dict[str, np.ndarray]
    linear: dict[str, np.ndarray]


@dataclass
class Recording:
    """A step that notes its party's share of the output."""

    step: Step
    op: Op
    log: dict[str, np.ndarray]

    def draws(self) -> list[Any]:
        return self.step.draws()

    def run(self, run: Run) -> np.ndarray:
        share = self.step.run(run)
        self.log[self.op.out] = share.copy()
        return share


@dataclass
class Tape:
    """What chance decided in the secure run."""

    shares: dict[str, np.ndarray]
    errors: dict[str, np.ndarray] = field(default_factory=dict)

    def helper(self, op: Op) -> np.ndarray:
        return self.shares[op.out]

    def error(self, op: WeightedOp) -> np.ndarray:
        return self.errors[op.out]


@pytest.mark.parametrize("name", MODELS)
def test_secure_run_is_the_ideal_network_on_the_same_shares(
    name: str, two_parties: Callable[..., list[tuple[Any, Any]]]
) -> None:
    model = MODELS[name]()
    plan = replace(model.plan, reveal=Reveal("logits", model.plan.classes))
    rng = np.random.default_rng(11)
    file = DATA / ("cifar.npz" if plan.channels == 3 else f"{name}.npz")
    picture = np.load(file)["x"][7].reshape(plan.height, plan.width, plan.channels)
    networks = [Network(plan, model.ints), Network(plan)]
    halves, errors = [Half({}, {}), Half({}, {})], {}
    for tensor, size in networks[1].masks.items():
        halves[1].masks[tensor] = rng.integers(0, 1 << 32, size, np.uint32)
    for op in plan.weighted:
        source = plan.sources(op)[0]
        product = online(op, model.ints[op.weight], halves[1].masks[source.out].reshape(source.shape))
        errors[op.out] = rng.integers(-3, 4, op.shape)
        helper = rng.integers(0, 1 << 32, op.size, np.uint32)
        noisy = (product.astype(np.int64) + errors[op.out]).astype(np.uint32).reshape(-1)
        halves[0].linear[op.out], halves[1].linear[op.out] = noisy - helper, helper
    x1 = rng.integers(0, 1 << 32, picture.size, np.uint32)
    x0 = picture.reshape(-1).astype(np.uint32) - x1
    logs: list[dict[str, np.ndarray]] = [{}, {}]
    for network, log in zip(networks, logs, strict=True):
        network._steps = [(op, Recording(step, op, log)) for op, step in network._steps]
    dealers = dealt_pair(3)

    def party(channel: Channel) -> np.ndarray:
        i = channel.party
        return networks[i].run(channel, dealers[i], halves[i], (x0, x1)[i])

    (cloud, _), (helper, _) = two_parties(party)
    shape = (plan.height, plan.width, plan.channels)
    chw = [s.reshape(shape).transpose(2, 0, 1) for s in (x0, x1)]
    ideal = run_shares(plan, model.ints, chw[0], chw[1], Tape(logs[1], errors))
    assert np.array_equal(ideal[0], cloud) and np.array_equal(ideal[1], helper)
    assert set(logs[0]) == {op.out for op in plan.ops[1:]}
