"""Functions other than ReLU in the compiler: spellings, what is refused and why, scales that the protocols take."""

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from blindsight.models import CompileError, compile_model
from blindsight.mpc.clip import Clip as SecureClip
from blindsight.nn import floatnet
from blindsight.nn.ideal import run_values
from blindsight.nn.model import Model
from blindsight.nn.ops import Input
from blindsight.nn.plan import Clip, LeakyRelu, Lut

RNG = np.random.default_rng(6)
X = RNG.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)


class Net(nn.Module):
    def __init__(self, body: Callable[[Tensor], Tensor], gain: float = 3.0) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.body, self.conv, self.end = body, nn.Conv2d(3, 6, 3, padding=1), nn.Linear(96, 5)
        self.conv.weight.data *= gain
        self.layer = body if isinstance(body, nn.Module) else None

    def forward(self, x: Tensor) -> Tensor:
        return self.end(F.avg_pool2d(self.body(self.conv(x)), 2).flatten(1))


SPELLINGS: dict[str, tuple[Callable[[Tensor], Tensor], type]] = {
    "relu6": (lambda x: F.relu6(x, True), Clip),
    "hardtanh": (lambda x: F.hardtanh(x, -2.0, 2.0), Clip),
    "clamp wider than its input": (lambda x: x.clamp(-1000, 1000), Clip),
    "clamp": (lambda x: x.clamp(-1, 3), Clip),
    "leaky": (lambda x: F.leaky_relu(x, 0.1, inplace=True), LeakyRelu),
    "leaky module": (nn.LeakyReLU(0.2, inplace=True), LeakyRelu),
    "rrelu": (nn.RReLU(), LeakyRelu),
    "prelu": (nn.PReLU(), LeakyRelu),
    "tanh": (lambda x: x.tanh(), Lut),
    "sigmoid": (torch.sigmoid, Lut),
    "silu": (lambda x: F.silu(x, inplace=True), Lut),
    "elu": (lambda x: F.elu(x, 1.0), Lut),
    "softplus": (nn.Softplus(), Lut),
    "gelu": (F.gelu, Lut),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings_compile_to_their_operation_and_keep_the_function(name: str) -> None:
    body, kind = SPELLINGS[name]
    made = compile_model(Net(body), X, name="n", weight_bits=14)
    assert sum(isinstance(op, kind) for op in made.plan) == 1
    floats = floatnet.forward(made.model.graph, X)
    fixed = run_values(made.plan, made.model.ints, X, np.random.default_rng(2)) / 2.0**made.plan.output_scale
    assert np.abs(fixed - floats).max() < 0.01
    assert Model.from_bytes(saved(made.model)).plan.hash == made.plan.hash


def saved(model: Model) -> bytes:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "m.bsm")
        return (Path(folder) / "m.bsm").read_bytes()


@pytest.mark.parametrize(
    ("body", "gain", "text"),
    [
        (nn.PReLU(6, init=0.1), 1, None),  # the same slope six times
        (nn.Softplus(threshold=2), 1, "use its default"),
        (lambda x: x.clamp(3, 2), 1, "lower bound"),
        (lambda x: F.softsign(x), 1, "use ReLU instead"),
        (nn.SiLU(), 1e6, "batch norm before it"),
    ],
    ids=["prelu", "softplus", "clamp", "softsign", "too large"],
)
def test_what_cannot_be_kept_is_refused(body, gain: float, text: str | None) -> None:
    if text is None:
        compile_model(Net(body, gain), X, name="n", weight_bits=8)
        return
    with pytest.raises(CompileError, match=text) as caught:
        compile_model(Net(body, gain), X, name="n", weight_bits=8)
    assert "\n" not in str(caught.value)


COMPOSED: dict[str, Callable[[Tensor], Tensor]] = {
    "leaky, negative": lambda x: F.leaky_relu(x, -0.5),
    "elu 2": lambda x: F.elu(x, 2.0),
    "selu": F.selu,
    "celu": lambda x: F.celu(x, 0.5),
    "softplus 2": nn.Softplus(beta=2),
    "log sigmoid": F.logsigmoid,
    "gelu, tanh": nn.GELU("tanh"),
    "clamp above": lambda x: x.clamp(max=0.5),
    "clamp below": lambda x: x.clamp(min=-0.3),
    "absolute": lambda x: x.abs(),
    "greater of two": lambda x: torch.maximum(x, 0.5 - 2 * x),
    "lesser of two": lambda x: torch.minimum(x, 0.5 - 2 * x),
    "lesser of a number": lambda x: torch.minimum(x, torch.tensor(0.25)),
    "swish": lambda x: x * torch.sigmoid(x),
    "quick gelu": lambda x: torch.sigmoid(1.702 * x) * x,
    "hard swish": lambda x: x * F.relu6(x + 3) / 6,
    "hard swish, divided first": lambda x: (F.relu6(x + 3) / 6) * x,
    "hard swish by hardsigmoid": lambda x: x * F.hardsigmoid(x),
    "mish": lambda x: x * torch.tanh(F.softplus(x)),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_compositions_keep_the_function(name: str) -> None:
    net = Net(COMPOSED[name], 3.0)
    made = compile_model(net, X, name="n", weight_bits=14)
    x = torch.from_numpy(X if X.ndim == 4 else X[..., None]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        floats = net.eval()(x).numpy()
    fixed = run_values(made.plan, made.model.ints, X, np.random.default_rng(2)) / 2.0**made.plan.output_scale
    assert np.abs(fixed - floats).max() < 0.02 * max(1.0, floats.std())


def test_a_prelu_of_many_slopes_keeps_them_out_of_the_plan() -> None:
    net = Net(nn.PReLU(6))
    net.body.weight.data = torch.linspace(-0.3, 1.4, 6)
    made = compile_model(net, X, name="n", weight_bits=14)
    assert not any(isinstance(op, LeakyRelu) for op in made.plan)
    floats = floatnet.forward(made.model.graph, X)
    fixed = run_values(made.plan, made.model.ints, X, np.random.default_rng(2)) / 2.0**made.plan.output_scale
    assert np.abs(fixed - floats).max() < 0.01


def test_large_inputs_of_bounded_functions_keep_their_precision() -> None:
    """A saturating function may keep more bits than other activations: its result is narrow."""
    for body in (torch.tanh, F.relu6):
        made = compile_model(Net(body, 60.0), X, name="n", weight_bits=16, m=16)
        (op,) = [op for op in made.plan if isinstance(op, Clip | Lut)]
        assert op.m > 16 and op.m + op.f <= 31
        floats = floatnet.forward(made.model.graph, X)
        fixed = (
            run_values(made.plan, made.model.ints, X, np.random.default_rng(2)) / 2.0**made.plan.output_scale
        )
        assert np.abs(fixed - floats).max() < 0.02 * floats.std()


@pytest.mark.parametrize(
    ("low", "high", "taken"),
    [
        *((-512, 511, True), (-511, 512, True), (0, 512, True), (-512, 512, False)),
        *((-513, 0, False), (0, 513, False), (3, 3, False), (4, 3, False)),
    ],
)
def test_a_plan_takes_the_bounds_that_the_protocol_takes(low: int, high: int, taken: bool) -> None:
    """Of m = 10 bits: either bound may be its farthest, not both, which are 2^m apart."""
    source = Input(out="x", inputs=(), shape=(1, 2, 2), scale=0)
    op = Clip(out="y", inputs=("x",), shape=(1, 2, 2), scale=0, f=0, m=10, low=low, high=high)
    for take in (lambda: op.check([source]), lambda: SecureClip(0, 10, low, high)):
        with nullcontext() if taken else pytest.raises(ValueError):
            take()


def test_probabilities_get_logits_of_a_scale_that_softmax_takes() -> None:
    quiet = Net(torch.tanh)
    quiet.end.weight.data *= 1e-3
    quiet.end.bias.data *= 1e-3
    assert compile_model(quiet, X, name="n", weight_bits=12).plan.output_scale > 26
    made = compile_model(quiet, X, name="n", weight_bits=12, reveal="probabilities")
    assert 6 <= made.plan.output_scale <= 26 and made.plan.result_scale == 14
