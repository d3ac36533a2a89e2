"""Networks with functions other than ReLU, run between two parties: every layer against its ideal form on the same shares,
and the float network's answers.
"""

import itertools
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from blindsight.channel import memory_pair
from blindsight.helper.linear import helper_side
from blindsight.models import compile_model
from blindsight.nn import floatnet
from blindsight.nn.ideal import _drop, _nonlinear, run_values
from blindsight.nn.linear import CloudSide
from blindsight.nn.network import Network
from blindsight.nn.plan import Clip, LeakyRelu, Lut, Plan, ReducedOp
from blindsight.offline.make import make_batch
from blindsight.offline.slot import Tape
from blindsight.ot.generate import Generator


class AllFunctions(nn.Module):
    """Every function beside the others, as layer and as function, with a max-pool that moves before some."""

    def __init__(self) -> None:
        super().__init__()
        kinds = (
            nn.Tanh,
            nn.Sigmoid,
            nn.Hardsigmoid,
            nn.SiLU,
            nn.GELU,
            nn.Hardswish,
            nn.Mish,
            nn.ELU,
            nn.Softplus,
        )
        kinds += (nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.Hardtanh)
        self.branches = nn.ModuleList(nn.Sequential(nn.Conv2d(3, 2, 3, 2, 1), kind()) for kind in kinds)
        self.mix = nn.Conv2d(2 * len(kinds), 12, 3, padding=1)
        self.end = nn.Linear(12 * 4, 5)

    def forward(self, x):
        x = 3 * self.mix(torch.cat([b(3 * x) for b in self.branches], 1))
        x = F.max_pool2d(torch.tanh(x), 2)
        return self.end(torch.clamp(F.leaky_relu(F.silu(x), 0.2), -0.5, 0.75).flatten(1))


class TanhLeNet(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            *(nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh()),
            *(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh()),
            nn.Linear(84, 10),
        )


class Inverted(nn.Module):
    """MobileNetV2's block: expansion, depthwise, linear bottleneck, residual where shapes allow."""

    def __init__(self, inner: int, outer: int, stride: int, expand: int) -> None:
        super().__init__()
        wide, bare = inner * expand, {"bias": False}
        self.conv = nn.Sequential(
            *((nn.Conv2d(inner, wide, 1, **bare), nn.BatchNorm2d(wide), nn.ReLU6()) if expand > 1 else ()),
            *(nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, **bare), nn.BatchNorm2d(wide), nn.ReLU6()),
            *(nn.Conv2d(wide, outer, 1, **bare), nn.BatchNorm2d(outer)),
        )
        self.residual = stride == 1 and inner == outer

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 6, 3, 1, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU6()),
            *(Inverted(6, 6, 1, 1), Inverted(6, 8, 2, 3), Inverted(8, 8, 1, 3), Inverted(8, 12, 2, 3)),
            *(nn.Conv2d(12, 32, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6()),
        )
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


class Basic(nn.Module):
    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False), nn.BatchNorm2d(outer)
        self.conv2, self.bn2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False), nn.BatchNorm2d(outer)
        self.side = (
            nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))
            if inner != outer
            else nn.Identity()
        )

    def forward(self, x):
        return F.relu(self.side(x) + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class ResNet20(nn.Sequential):
    """All 20 layers, a quarter of the width."""

    def __init__(self) -> None:
        widths = [4, 4, 4, 4, 8, 8, 8, 16, 16, 16]
        blocks = [Basic(a, b, 1 + (a != b)) for a, b in itertools.pairwise(widths)]
        stem = (nn.Conv2d(3, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        super().__init__(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


CASES = {
    "functions": (AllFunctions, 8, 3),
    "lenet": (TanhLeNet, 28, 1),
    "mobile": (MobileNetV2, 12, 3),
    "resnet": (ResNet20, 12, 3),
}


def compiled(name: str, reveal: str = "logits"):
    make, size, channels = CASES[name]
    torch.manual_seed(2)
    rng = np.random.default_rng(4)
    coarse = np.kron(rng.integers(0, 256, (150, size // 4, size // 4, channels)), np.ones((1, 4, 4, 1)))
    pictures = np.clip(coarse + rng.normal(0, 20, coarse.shape), 0, 255).astype(np.uint8)
    module = make().train()
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):  # running statistics of these very pictures
            m.momentum = None
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, 0, 0.2)
    with torch.no_grad():
        module((torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()).float() / 255 - 0.5) / 0.25)
    made = compile_model(
        module.eval(), pictures, name="net", mean=0.5, std=0.25, reveal=reveal, weight_bits=13
    )
    return made.model, pictures


def run_secure(model, pictures: np.ndarray):
    """Results [N, count] of a secure run, and both parties' shares of every tensor, picture by picture."""
    rng = np.random.default_rng(3)
    flat = pictures.reshape(len(pictures), -1).astype(np.uint32)
    helper_pixels = rng.integers(0, 1 << 32, flat.shape, dtype=np.uint32)
    pixels, ends = (flat - helper_pixels, helper_pixels), memory_pair(timeout=120)
    out: list[list] = [[], []]

    def party(p: int) -> None:
        try:
            plan = Plan.from_json(model.plan.to_json())
            network = Network(plan, model.ints if p == 0 else None)
            linear = CloudSide(plan, model.ints) if p == 0 else helper_side(plan)
            slots = make_batch(ends[p], network, linear, Generator(ends[p]), len(flat))
            for i, slot in enumerate(slots):
                seen: dict[str, np.ndarray] = {}
                for op, step in network._steps:
                    step.run = record(op.out, type(step).run.__get__(step), seen)
                out[p].append((network.run(ends[p], Tape(slot.draws), slot, pixels[p][i]), seen))
        except BaseException:
            ends[p].close()
            raise

    def record(name, run, seen):
        def wrapped(state):
            seen[name] = run(state)
            return seen[name]

        return wrapped

    helper = threading.Thread(target=party, args=(1,))
    helper.start()
    party(0)
    helper.join()
    result = np.array([a[0] + b[0] for a, b in zip(*out, strict=True)])
    return result, [(a[1], b[1]) for a, b in zip(*out, strict=True)]


def check_layers(plan: Plan, shares) -> set[str]:
    """Each function's output against its ideal form on the very shares it was given; the kinds that were met."""
    met = set()
    for op in plan:
        if not isinstance(op, ReducedOp):
            continue
        x = [shares[p][op.inputs[0]] for p in (0, 1)]
        reduced = (_drop(x[0], op.f, 0) + _drop(x[1], op.f, 1)).astype(np.int64)
        want = _nonlinear(plan, op, reduced[None])[0].reshape(op.shape)
        got = (shares[0][op.out] + shares[1][op.out]).view(np.int32).reshape(op.shape)
        most = op.table(plan.op(op.inputs[0])).units if isinstance(op, Lut) else 0
        assert np.abs(got - want).max() <= most, op.out
        met |= {getattr(op, "function", op.kind)}
    return met


@pytest.mark.parametrize("name", CASES)
def test_secure_layers_are_their_ideal_forms_and_top1_is_the_float_networks(name: str) -> None:
    model, pictures = compiled(name)
    plan, some = model.plan, pictures[: 8 if name != "lenet" else 4]
    floats = floatnet.forward(model.graph, pictures)
    fixed = run_values(plan, model.ints, pictures, np.random.default_rng(1)) / 2.0**plan.output_scale
    error = np.abs(fixed - floats).max()
    ranked = np.sort(floats, axis=1)
    clear = ranked[:, -1] - ranked[:, -2] > 2 * error
    assert clear.mean() > 0.9, "the error leaves too few pictures to decide on"
    assert np.array_equal(fixed.argmax(1)[clear], floats.argmax(1)[clear])

    result, seen = run_secure(model, some)
    logits = result.astype(np.int32) / 2.0**plan.output_scale
    assert np.abs(logits - floats[: len(some)]).max() <= 2 * error
    assert np.array_equal(
        logits.argmax(1)[clear[: len(some)]], floats[: len(some)].argmax(1)[clear[: len(some)]]
    )
    met = set.union(*(check_layers(plan, shares) for shares in seen))
    if name == "functions":
        assert met >= set(
            [
                "tanh",
                "sigmoid",
                "hardsigmoid",
                "silu",
                "gelu",
                "hardswish",
                "mish",
                "elu",
                "softplus",
                "clip",
                "leaky_relu",
                "max_pool",
            ]
        )
        first = next(op for op in plan if op.kind == "max_pool")
        assert isinstance(plan.consumers(first.out)[0], Lut), "the pool moves before the function"


def test_float_graph_is_the_torch_module() -> None:
    """What `lut`, `clip` and `leaky_relu` stand for: PyTorch's own functions."""
    model, pictures = compiled("functions")
    assert {op.kind for op in model.plan} >= {Clip.kind, LeakyRelu.kind, Lut.kind}
    from blindsight.models.torch_floor import TorchFloor

    ours = floatnet.forward(model.graph, pictures[:8])
    assert np.allclose(TorchFloor(model.graph)(pictures[:8]).numpy(), ours, atol=1e-4)


def test_probabilities_are_the_softmax_of_the_logits() -> None:
    model, pictures = compiled("lenet", "probabilities")
    result, _ = run_secure(model, pictures[:3])
    got = result.astype(np.int32) / 2.0**model.plan.result_scale
    logits = floatnet.forward(model.graph, pictures[:3]).astype(np.float64)
    want = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.abs(got - want).max() < 2.0**-7 and np.abs(got.sum(1) - 1).max() < 0.02


def test_a_clamp_wider_than_its_input_runs_as_it_was_simulated() -> None:
    torch.manual_seed(2)
    module = nn.Sequential(nn.Conv2d(1, 2, 3, 2), nn.Hardtanh(-1e4, 1e4), nn.Flatten(), nn.Linear(18, 4))
    pictures = np.random.default_rng(5).integers(0, 256, (16, 8, 8, 1), dtype=np.uint8)
    model = compile_model(module, pictures, name="n", reveal="logits", weight_bits=12, m=14).model
    plan = model.plan
    result, seen = run_secure(model, pictures[:2])
    assert [check_layers(plan, shares) for shares in seen] == [{"clip"}] * 2
    simulated = run_values(plan, model.ints, pictures[:2], np.random.default_rng(1))
    assert np.abs(result.view(np.int32) - simulated).max() <= 2.0 ** (plan.output_scale - 8)
