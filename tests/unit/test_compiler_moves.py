"""Operations that move elements: slices, splits, orders of dimensions, padding of channels, in-place spellings."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from blindsight.models import compile_model, zoo
from blindsight.models.torch_floor import TorchFloor
from blindsight.nn import kernels
from blindsight.nn.floatnet import forward
from blindsight.nn.ideal import RandomTape, run_shares, run_values, signed
from blindsight.nn.plan import Permute, Slice

X = np.load(zoo.pictures("cifar"))["x"][:24]


class Net(nn.Module):
    """A convolution, the operation under test, a last layer of the size that is left."""

    def __init__(self, body: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self.conv, self.second = body, nn.Conv2d(3, 8, 3, 4, 1), nn.Conv2d(8, 8, 1)
        with torch.no_grad():
            size = body(self.conv(torch.zeros(2, 3, 32, 32))).flatten(1).shape[1]
        self.end = nn.Linear(size, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.body(self.conv(x)).flatten(1))


def shuffle(x: Tensor) -> Tensor:
    n, c, h, w = x.size()
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)


def in_place(x: Tensor) -> Tensor:
    y = x
    y.relu_()
    x += 0.25
    F.leaky_relu(x, 0.1, inplace=True)
    return x + y


def halves(x: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=1)
    return torch.cat([b.relu(), a], 1)


def norm() -> nn.Module:
    made = nn.BatchNorm1d(8)
    made.weight.data, made.running_mean = torch.linspace(-0.5, 1.5, 8), torch.linspace(0, 0.3, 8)
    return made


BODIES: dict[str, tuple[Callable[[Tensor], Tensor], set[type]]] = {
    "channels": (lambda x: x[:, 2:7], {Slice}),
    "one channel": (lambda x: x[:, 3].relu(), {Slice}),
    "last rows": (lambda x: x[..., -3:, :], {Slice}),
    "every second": (lambda x: F.relu(x[:, :, ::2, 1::2]), {Slice}),
    "shortcut A": (lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4), "constant", 0).relu(), {Slice}),
    "cut off by padding": (lambda x: F.pad(x, (-1, 2, -1, -1)), {Slice}),
    "halves": (halves, {Slice}),
    "five parts of eight": (lambda x: torch.cat(x.tensor_split(5, 1)[1:4], 1).relu(), {Slice}),
    "parts from places": (lambda x: torch.cat(torch.tensor_split(x, (1, 4), 1)[::2], 1).relu(), {Slice}),
    "split": (lambda x: torch.cat([p.relu() for p in torch.split(x, [1, 5, 2], dim=1)[1:]], 1), {Slice}),
    "narrow": (lambda x: x.narrow(1, 2, 4), {Slice}),
    "shuffle": (lambda x: shuffle(x).relu(), {Permute}),
    "channels last": (lambda x: x.relu().permute(0, 2, 3, 1), {Permute}),
    "pixel unshuffle": (lambda x: F.pixel_unshuffle(x, 2).relu(), {Permute}),
    "pixel shuffle": (lambda x: F.pixel_shuffle(x, 2).relu(), {Permute}),
    "swapped": (lambda x: x.transpose(2, 3).relu(), {Permute}),
    "in place": (in_place, set()),
    "largest of a channel": (lambda x: torch.amax(x, (2, 3)), set()),
    "norm of vectors": (nn.Sequential(nn.ReLU(), nn.Flatten(2), norm(), nn.ReLU()), set()),
    "weight norm": (
        nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 3)), nn.ReLU()),
        set(),
    ),
    "constant padding": (nn.ConstantPad2d((1, 0, 0, 1), 0.0), set()),
    "sum over space": (lambda x: x.sum((2, 3)).relu(), set()),
}


@pytest.mark.parametrize("name", BODIES)
def test_networks_that_move_elements(name: str) -> None:
    torch.manual_seed(1)
    body, kinds = BODIES[name]
    net = Net(body)
    made = compile_model(net, X, name="n", weight_bits=14)
    plan, ints = made.plan, made.model.ints
    assert kinds <= {type(op) for op in plan}
    x = torch.from_numpy(X).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        theirs = net.eval()(x).numpy()
    assert np.allclose(forward(made.model.graph, X), theirs, atol=1e-4)
    assert np.allclose(TorchFloor(made.model.graph)(X).numpy(), theirs, atol=1e-4)
    fixed = run_values(plan, ints, X, np.random.default_rng(0)) / 2.0**plan.output_scale
    assert np.abs(fixed - theirs).max() < 0.02 * max(float(theirs.std()), 0.2)
    rng = np.random.default_rng(5)
    pixels = X[0].transpose(2, 0, 1).astype(np.uint32)
    helper = rng.integers(0, 1 << 32, pixels.shape, np.uint32)
    shares = run_shares(plan, ints, pixels - helper, helper, RandomTape(rng))
    assert np.abs(signed(shares[0] + shares[1]) / 2.0**plan.output_scale - theirs[0]).max() < 0.05


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_slices_follow_their_definition(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    axes = [
        (data.draw(st.integers(-7, 7)), data.draw(st.integers(1, 4)), data.draw(st.integers(1, 8)))
        for _ in shape
    ]
    x = np.arange(1, 1 + 2 * int(np.prod(shape))).reshape(2, *shape)
    start, step, out = zip(*axes, strict=True)
    y = kernels.slices(x, start, step, out)
    for index in np.ndindex(*out):
        at = tuple(s + i * k for s, i, k in zip(start, index, step, strict=True))
        inside = all(0 <= a < n for a, n in zip(at, shape, strict=True))
        assert y[(1, *index)] == (x[(1, *at)] if inside else 0)
