"""Networks the compiler was not written for, of the layers it supports: the fixed-point function follows the float one.

Weights are random, so classes are nearly tied; what is held is the distance of the logits, relative to their spread.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blindsight.models import compile_model
from blindsight.models.zoo import HERE
from blindsight.nn.floatnet import forward
from blindsight.nn.ideal import run_values
from blindsight.nn.plan import Conv2d, MaxPool, Relu, Trunc

Factory = Callable[[], nn.Module]
FACTORIES: dict[str, tuple[int, Factory]] = {}


def network(channels: int) -> Callable[[Factory], Factory]:
    def register(factory: Factory) -> Factory:
        FACTORIES[factory.__name__] = (channels, factory)
        return factory

    return register


class Function(nn.Module):
    """A module whose forward is a plain function of (self, x)."""

    def __init__(self, forward: Callable[[nn.Module, Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.body = forward
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, x)


@network(3)
def vgg_like() -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    widths: tuple[int | str, ...] = (8, "M", 16, 16, "M", 32, "M", 32, "M", 32, "M")
    for width in widths:
        if isinstance(width, str):
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
    head = nn.Sequential(nn.Linear(32 * 49, 64), nn.ReLU(True), nn.Dropout(), nn.Linear(64, 10))
    return Function(
        lambda s, x: s.head(torch.flatten(s.pool(s.features(x)), 1)),
        features=nn.Sequential(*layers),
        pool=nn.AdaptiveAvgPool2d((7, 7)),
        head=head,
    )


class Bottleneck(nn.Module):
    def __init__(self, cin: int, mid: int, cout: int, stride: int) -> None:
        super().__init__()
        self.a, self.na = nn.Conv2d(cin, mid, 1, bias=False), nn.BatchNorm2d(mid)
        self.b, self.nb = nn.Conv2d(mid, mid, 3, stride, 1, bias=False), nn.BatchNorm2d(mid)
        self.c, self.nc = nn.Conv2d(mid, cout, 1, bias=False), nn.BatchNorm2d(cout)
        self.relu = nn.ReLU(inplace=True)
        self.down = None
        if stride != 1 or cin != cout:
            self.down = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.down is None else self.down(x)
        out = self.relu(self.na(self.a(x)))
        out = self.relu(self.nb(self.b(out)))
        out = self.nc(self.c(out))
        out += identity
        return self.relu(out)


@network(3)
def resnet_like() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 7, 2, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        nn.Sequential(Bottleneck(8, 4, 16, 1), Bottleneck(16, 4, 16, 1)),
        nn.Sequential(Bottleneck(16, 8, 32, 2), Bottleneck(32, 8, 32, 1)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


@network(1)
def without_biases() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, bias=False),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 12, 5, bias=False),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(192, 10, bias=False),
    )


@network(1)
def convolution_then_linear() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 8, 4, 4), nn.Flatten(), nn.Linear(8 * 49, 24), nn.Linear(24, 10))


@network(1)
def one_relu_called_twice() -> nn.Module:
    def forward(s: nn.Module, x: Tensor) -> Tensor:
        x = s.relu(s.conv1(x))
        x = s.pool(s.relu(s.conv2(x)))
        return s.fc(x.view(x.size(0), -1))

    return Function(
        forward,
        relu=nn.ReLU(),
        pool=nn.MaxPool2d(2),
        conv1=nn.Conv2d(1, 4, 3, stride=2),
        conv2=nn.Conv2d(4, 8, 3),
        fc=nn.Linear(8 * 25, 10),
    )


@network(3)
def two_branches() -> nn.Module:
    def forward(s: nn.Module, x: Tensor) -> Tensor:
        x = F.relu(s.stem(x))
        y = torch.cat([F.relu(s.one(x)), s.three(x).relu(), F.max_pool2d(x, 3, stride=1, padding=1)], dim=1)
        y = F.avg_pool2d(y, 3, 2, 1)
        return s.fc(torch.mean(y, (2, 3)))

    return Function(
        forward,
        stem=nn.Conv2d(3, 8, 3, 2, 1),
        one=nn.Conv2d(8, 6, 1),
        three=nn.Conv2d(8, 6, 3, padding="same"),
        fc=nn.Linear(20, 10),
    )


@network(3)
def dense_like() -> nn.Module:
    def forward(s: nn.Module, x: Tensor) -> Tensor:
        x = s.c0(x)
        for i in (1, 2):
            y = getattr(s, f"c{i}")(F.relu(getattr(s, f"n{i}")(x)))
            x = torch.cat((x, y), 1)
        x = F.relu(s.n3(x))
        return s.fc(F.adaptive_avg_pool2d(x, (2, 2)).flatten(1))

    return Function(
        forward,
        c0=nn.Conv2d(3, 8, 3, 4, 1, bias=False),
        n1=nn.BatchNorm2d(8),
        c1=nn.Conv2d(8, 4, 3, 1, 1, bias=False),
        n2=nn.BatchNorm2d(12),
        c2=nn.Conv2d(12, 4, 3, 1, 1, bias=False),
        n3=nn.BatchNorm2d(16),
        fc=nn.Linear(64, 10),
    )


@network(3)
def preactivation_residual() -> nn.Module:
    def forward(s: nn.Module, x: Tensor) -> Tensor:
        x = s.stem(x)
        x = x + s.a2(F.relu(s.a1(F.relu(s.na(x)))))
        x = s.b2(F.relu(s.b1(F.relu(s.nb(x))))) + s.short(x)
        return s.fc(F.relu(s.nc(x)).mean([-1, -2]))

    return Function(
        forward,
        stem=nn.Conv2d(3, 8, 3, 2, 1),
        na=nn.BatchNorm2d(8),
        a1=nn.Conv2d(8, 8, 3, 1, 1),
        a2=nn.Conv2d(8, 8, 3, 1, 1),
        nb=nn.BatchNorm2d(8),
        b1=nn.Conv2d(8, 16, 3, 2, 1),
        b2=nn.Conv2d(16, 16, 3, 1, 1),
        short=nn.Conv2d(8, 16, 1, 2),
        nc=nn.BatchNorm2d(16),
        fc=nn.Linear(16, 10),
    )


@network(3)
def mobile_like() -> nn.Module:
    def block(cin: int, cout: int, stride: int) -> list[nn.Module]:
        return [
            nn.Conv2d(cin, cin, 3, stride, 1, groups=cin, bias=False),
            *(
                nn.BatchNorm2d(cin),
                nn.ReLU(),
                nn.Conv2d(cin, cout, 1, bias=False),
                nn.BatchNorm2d(cout),
                nn.ReLU(),
            ),
        ]

    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
        *(*block(8, 16, 1), *block(16, 24, 2), nn.Conv2d(24, 24, 3, 1, 1, groups=4), nn.ReLU()),
        *(nn.AvgPool2d(7), nn.Flatten(), nn.Dropout(0.2), nn.Linear(24, 10)),
    )


@network(1)
def all_convolutional() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, 2, dilation=2), nn.ReLU(), nn.Conv2d(8, 10, 1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )


@network(1)
def norm_after_pool_and_before_convolution() -> nn.Module:
    return nn.Sequential(
        *(nn.BatchNorm2d(1), nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)),
        *(nn.BatchNorm2d(6), nn.Conv2d(6, 8, 3, padding=1), nn.MaxPool2d(2), nn.BatchNorm2d(8), nn.ReLU()),
        *(
            nn.Flatten(),
            nn.BatchNorm1d(392),
            nn.Linear(392, 20),
            nn.BatchNorm1d(20),
            nn.ReLU(),
            nn.Linear(20, 10),
        ),
        nn.LogSoftmax(1),
    )


@network(1)
def pool_first_and_constants() -> nn.Module:
    def forward(s: nn.Module, x: Tensor) -> Tensor:
        x = F.max_pool2d((x - 0.5) * 2.0, 2)
        x = F.pad(F.relu(s.conv(x)), (1, 1, 1, 1))
        x = torch.clamp(s.next(1 - x / 3), min=0)
        return F.log_softmax(s.fc(x.reshape(-1, 8 * 14 * 14)), dim=1)

    return Function(
        forward, conv=nn.Conv2d(1, 4, 3, 1, 1), next=nn.Conv2d(4, 8, 3), fc=nn.Linear(8 * 196, 10)
    )


@network(1)
def multilayer_perceptron() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10)
    )


def settle(module: nn.Module) -> nn.Module:
    """Batch norms with random but plausible statistics and signs."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            part.weight.data[::5] *= -1
            nn.init.normal_(part.bias, 0, 0.3)
            nn.init.normal_(part.running_mean, 0, 0.2)
            nn.init.uniform_(part.running_var, 0.3, 1.5)
    return module.eval()


def pictures(channels: int) -> np.ndarray:
    x = np.load(HERE.parent / "data" / ("cifar.npz" if channels == 3 else "mnist.npz"))["x"]
    return x if x.ndim == 4 else x[..., None]


@pytest.mark.parametrize("name", FACTORIES)
def test_follows_the_float_network(name: str) -> None:
    channels, factory = FACTORIES[name]
    torch.manual_seed(len(name))
    module = settle(factory())
    x = pictures(channels)[:96]
    mean, std = [0.4, 0.5, 0.45][:channels], [0.25, 0.3, 0.2][:channels]
    compiled = compile_model(module, x[:64], name=name, mean=mean, std=std, weight_bits=12, m=16)
    z = (
        torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).float() / 255 - torch.tensor(mean).view(1, -1, 1, 1)
    ) / (torch.tensor(std).view(1, -1, 1, 1))
    with torch.no_grad():
        theirs = module(z).numpy()
    ours = forward(compiled.model.graph, x)
    fixed = (
        run_values(compiled.plan, compiled.model.ints, x, np.random.default_rng(0))
        / 2.0**compiled.plan.output_scale
    )
    if name in ("norm_after_pool_and_before_convolution", "pool_first_and_constants"):  # end in a softmax
        ours, fixed, theirs = (v - v.mean(1, keepdims=True) for v in (ours, fixed, theirs))
    spread = theirs.std(0).max() + theirs.std(1).mean()
    assert np.abs(ours - theirs).max() < 1e-4 * (1 + np.abs(theirs).max())
    assert np.abs(fixed - theirs).max() < 0.05 * spread, compiled.explain()


def test_pool_stands_before_relu_and_no_truncation_is_wasted() -> None:
    torch.manual_seed(0)
    x = pictures(3)[:32]
    plan = compile_model(settle(vgg_like()), x, name="vgg", weight_bits=10, m=16).plan
    kinds = [type(op) for op in plan]
    assert Trunc not in kinds
    assert sum(k is MaxPool for k in kinds) == 5
    assert all(op.relu for op in plan if isinstance(op, MaxPool))
    assert sum(k is Relu for k in kinds) == 2  # one inside the features that no pool follows, one in the head


def test_normalisation_is_exact_at_padded_borders() -> None:
    """(x / 255 - mean) / std is zero, not -mean / std, where the convolution pads."""
    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv2d(1, 4, 5, padding=2), nn.Flatten(), nn.Linear(4 * 784, 10))
    x = pictures(1)[:16]
    compiled = compile_model(module, x, name="border", mean=0.8, std=0.05, weight_bits=14, m=16)
    first = compiled.plan.ops[1]
    assert isinstance(first, Conv2d) and first.bias_map
    z = (torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).float() / 255 - 0.8) / 0.05
    with torch.no_grad():
        theirs = module.eval()(z).numpy()
    fixed = (
        run_values(compiled.plan, compiled.model.ints, x, np.random.default_rng(0))
        / 2.0**compiled.plan.output_scale
    )
    assert np.abs(fixed - theirs).max() < 2e-3 * np.abs(theirs).max()


SPELLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "adaptive pool and squeezes": lambda x: F.adaptive_avg_pool2d(x, (1, 1)).squeeze(-1).squeeze(-1),
    "squeeze of everything": lambda x: F.adaptive_avg_pool2d(x, 1).squeeze(),
    "two means": lambda x: x.mean(3).mean(2),
    "mean kept and viewed": lambda x: torch.mean(x, dim=[2, 3], keepdim=True).view(-1, 12),
    "named arguments": lambda x: F.relu(input=F.avg_pool2d(input=x, kernel_size=7), inplace=False).flatten(
        start_dim=1
    ),
    "sizes in arithmetic": lambda x: F.max_pool2d(x, 7).reshape(
        x.shape[0], x.size(1) * (x.shape[-1] // 7) ** 2
    ),
    "augmented assignments": lambda x: added(x).mean((2, 3)),
    "torch.add with alpha": lambda x: torch.add(x, x.relu(), alpha=2).mean((2, 3)),
    "difference of branches": lambda x: (x.relu() - F.avg_pool2d(x, 3, 1, 1)).mean((2, 3)),
    "two average pools": lambda x: F.avg_pool2d(F.avg_pool2d(x, 3), 3, 1).mean((2, 3)),
    "unsqueeze and back": lambda x: x.mean((2, 3)).unsqueeze(2).flatten(1),
    "clamp_": lambda x: x.clamp_(min=0).mean((2, 3)),
    "relu_ and contiguous": lambda x: torch.relu_(x).contiguous().mean((2, 3)),
    "maximum with zero": lambda x: torch.maximum(x, torch.zeros(())).mean((2, 3)),
    "constants on both sides": lambda x: (1 - (x * 2 - 3) / 4 + 0.5).relu().mean((2, 3)),
}


def added(x: Tensor) -> Tensor:
    x += F.relu(x)
    x *= 0.5
    x -= 0.1
    return x


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings_of_the_same_layers(name: str) -> None:
    """The compiler itself compares the graph it reads with the module, and raises where they differ."""
    torch.manual_seed(4)
    body = SPELLINGS[name]
    features = 48 if name in ("sizes in arithmetic", "named arguments") else 12
    net = Function(
        lambda s, x: s.fc(body(s.conv(x))), conv=nn.Conv2d(1, 12, 3, 2, 1), fc=nn.Linear(features, 10)
    )
    compiled = compile_model(net, pictures(1)[:48], name="spelling", weight_bits=12, m=16)
    x = pictures(1)[48:80]
    fixed = (
        run_values(compiled.plan, compiled.model.ints, x, np.random.default_rng(0))
        / 2.0**compiled.plan.output_scale
    )
    theirs = forward(compiled.model.graph, x)
    assert np.abs(fixed - theirs).max() < 0.05 * theirs.std(0).max() + 2e-3 * np.abs(theirs).max()
