"""The compiler's edges: what it refuses and how, what it loads, what its bounds promise."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from blindsight.app.cli import build
from blindsight.app.compile import CompileUsageError, name_of
from blindsight.models import CompileError, compile_model, load_module, zoo
from blindsight.models.bounds import Interval, dropped_bits
from blindsight.models.compiled import TARGET
from blindsight.models.noise import Noise, gradients
from blindsight.models.search import expected_agreement
from blindsight.nn import kernels
from blindsight.nn.floatnet import forward
from blindsight.nn.ideal import run_values
from blindsight.nn.model import Model
from blindsight.nn.ops import Op, ReducedOp, Reshape
from blindsight.nn.plan import Linear, Reveal
from blindsight.wire.keys import MODEL

X = np.load(zoo.pictures("mnist"))["x"]


class Function(nn.Module):
    def __init__(self, body: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.body = body
        self.fc = nn.Linear(784, 10)

    def forward(self, x: Tensor) -> Any:
        return self.body(self.fc(x.flatten(1)))


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :10] if x.sum() > 0 else x.flatten(1)[:, 10:20]


def flat(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), *layers, nn.Linear(16, 10))


def bad_weights() -> nn.Module:
    module = flat(nn.ReLU())
    module[1].weight.data[0, 0] = float("nan")
    return module


def grown(factor: float) -> nn.Module:
    module = flat(nn.ReLU(), nn.Linear(16, 16), nn.ReLU())
    for layer in module:
        if isinstance(layer, nn.Linear):
            layer.weight.data *= factor
    return module


def shifted(bias: float) -> nn.Module:
    module = flat(nn.ReLU())
    module[3].bias.data += bias
    return module


class Unlike(nn.Module):
    """A sum of values 10^12 apart."""

    def __init__(self) -> None:
        super().__init__()
        self.large, self.small, self.end = nn.Linear(784, 8), nn.Linear(784, 8, bias=False), nn.Linear(8, 10)
        self.large.weight.data *= 1e6
        self.small.weight.data *= 1e-6

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return self.end(F.relu(self.large(x) + self.small(x)))


REFUSED: dict[str, tuple[nn.Module, str]] = {
    "softsign": (flat(nn.Softsign()), "layer '2' (Softsign)"),
    "squeeze and excitation": (
        Function(lambda x: x * torch.sigmoid(x + 1)),
        "leave squeeze-and-excitation, gates and attention out",
    ),
    "exponential": (Function(torch.exp), "(exp)"),
    "group norm": (nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4)), "use BatchNorm2d"),
    "product": (Function(lambda x: x * x), "product of two activations"),
    "slice of the batch": (Function(lambda x: x[0:1]), "indexes the batch"),
    "index by a list": (Function(lambda x: x[:, [1, 2]]), "no number or slice"),
    "batch moved": (Function(lambda x: x.transpose(0, 1)), "the batch must stay first"),
    "split that does not add up": (Function(lambda x: x.split([3, 3], 1)[0]), "adding up"),
    "two results": (Function(lambda x: (x, x)), "one tensor"),
    "picture returned": (nn.Conv2d(1, 10, 3), "logits [N, classes]"),
    "flatten with the batch": (Function(lambda x: x.flatten()), "across the batch"),
    "control flow": (Branches(), "control flow"),
    "untracked norm": (
        nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten()),
        "running statistics",
    ),
    "reflect padding": (nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect")), "'zeros'"),
    "active dropout": (Function(lambda x: F.dropout(x)), "training=self.training"),
    "uneven average": (nn.AvgPool2d(3, 2, 1, count_include_pad=False), "count_include_pad=True"),
    "adaptive, no multiple": (
        nn.Sequential(nn.AdaptiveAvgPool2d(9), nn.Conv2d(1, 10, 9), nn.Flatten()),
        "no whole number of pixels",
    ),
    "not a number": (bad_weights(), "finite"),
    "exploding weights": (grown(1e20), "layer '3': its values overflow"),
    "a bias beyond the accumulator": (shifted(1e9), "with weights of 4 bits: train with weight decay"),
    "a sum of unlike values": (Unlike(), "put a batch norm before the addition"),
    "linear on a picture": (nn.Linear(28, 10), "flatten"),
    "lazy layers": (nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), "call it once on a batch"),
    "too small a picture": (nn.Sequential(nn.MaxPool2d(16), nn.MaxPool2d(2)), "too small"),
    "wrong channels": (nn.Conv2d(3, 4, 3), "takes 3 channels"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_layer_and_the_remedy(name: str) -> None:
    module, message = REFUSED[name]
    with pytest.raises(CompileError) as caught:
        compile_model(module, X[:8], name="n")
    assert message in str(caught.value) and "\n" not in str(caught.value), str(caught.value)


def test_bad_arguments_are_refused() -> None:
    net = flat(nn.ReLU())
    for arguments, message in (
        ({"calibration": X[:8].astype(np.float32)}, "uint8"),
        ({"calibration": X[:0]}, "uint8"),
        ({"calibration": np.zeros((2, 28, 28, 4), np.uint8)}, "channels"),
        ({"std": 0.0}, "positive"),
        ({"mean": [0.1, 0.2]}, "2 values for 1"),
        ({"weight_bits": 7}, "8 to 16"),
        ({"reveal": "all"}, "reveal"),
        ({"reveal": "topk:11"}, "reveal"),
        ({"labels": ["a"]}, "labels"),
        ({"name": "a/b"}, "name"),
        ({"name": "-a"}, "the first no sign"),
        ({"labels": ["a"] * 11}, "11 labels for 10 classes"),
        ({"headroom": 0.5}, "headroom"),
        ({"mean": float("nan")}, "mean must be numbers"),
    ):
        given = {"calibration": X[:8], "name": "n", **arguments}
        with pytest.raises(ValueError) as caught:
            compile_model(net, **given)
        assert message in str(caught.value), (message, str(caught.value))


def test_names_are_in_the_small_letters_of_manifests(tmp_path: Path) -> None:
    stems = ("LeNet", "My Net (2)", "Ä", "a.B-c_1")
    assert [name_of(Path(f"{stem}.bsm")) for stem in stems] == ["lenet", "my-net-2", "model", "a.b-c_1"]
    np.savez(tmp_path / "x.npz", x=X[:8])
    cli = build("compile")

    def asked(out: str, *more: str) -> None:
        source, known = "torch.nn:Flatten", str(tmp_path / "x.npz")
        bits = ("--weight-bits", "8", "--m", "16")
        cli(
            ["compile", source, "--calibration", known, "--out", str(tmp_path / out), *bits, *more],
            standalone_mode=False,
        )

    asked("My Net.bsm")
    asked("N.bsm", "--name", "LeNet")
    names = [Model.load(tmp_path / f"{stem}.bsm").plan.name for stem in ("My Net", "N")]
    assert names == ["my-net", "lenet"] and all(map(MODEL.fullmatch, names))
    with pytest.raises(CompileUsageError, match=r"must end in \.bsm, not 'M\.BSM'"):
        asked("M.BSM")


class Residual(nn.Module):
    """A branch that adds nothing, as residual networks begin."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner, self.outer = (
            nn.Linear(784, 16),
            nn.Linear(16, 16),
            nn.Linear(16, 16, bias=False),
        )
        self.end = nn.Linear(16, 10)
        nn.init.zeros_(self.outer.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x.flatten(1)))
        return self.end(F.relu(x + self.outer(F.relu(self.inner(x)))))


def zeroed(layer: int) -> nn.Module:
    module = flat(nn.ReLU())
    nn.init.zeros_(module[layer].weight)
    return module


@pytest.mark.parametrize(
    "make", [lambda: zeroed(1), lambda: zeroed(3), Residual], ids=["first", "last", "branch"]
)
def test_a_layer_of_zero_weights_is_its_bias(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    module = make()
    made = compile_model(module, X[:32], name="n", weight_bits=12, m=16)
    x = X[32:64, :, :, None]
    fixed = run_values(made.plan, made.model.ints, x, np.random.default_rng(0)) / 2.0**made.plan.output_scale
    floats = forward(made.model.graph, x)
    assert np.abs(fixed - floats).max() <= 0.002 * floats.std() and made.agreement >= TARGET
    assert compile_model(module, X[:32], name="n").agreement >= TARGET  # of bits that are chosen


def test_a_network_of_one_logit_is_judged_by_its_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 1))
    made = compile_model(module, X[:64], name="n", reveal="logits")
    assert made.plan.classes == 1 and TARGET <= made.agreement < 1
    x = X[64:128, :, :, None]
    fixed = run_values(made.plan, made.model.ints, x, np.random.default_rng(0)) / 2.0**made.plan.output_scale
    floats = forward(made.model.graph, x)
    assert np.abs(fixed - floats).max() < 0.05 * floats.std()
    wrong = expected_agreement(floats, -floats)
    assert wrong == 0 < expected_agreement(floats, floats)
    monkeypatch.setattr("blindsight.models.compiler.Search", None)  # refused before it
    with pytest.raises(CompileError, match="reveal logits"):
        compile_model(module, X[:8], name="n", reveal="probabilities")


def test_a_module_that_changes_is_noticed() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls, self.fc = 0, nn.Linear(784, 10)

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return self.fc(x.flatten(1)) * self.calls

    with pytest.raises(CompileError, match="other logits than the module"):
        compile_model(Counting(), X[:8], name="n")


def test_the_module_is_left_as_it_was() -> None:
    module = flat(nn.ReLU(), nn.Dropout())
    module.train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    compile_model(module, X[:16], name="n", weight_bits=8)
    assert module.training and all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


@pytest.mark.parametrize(
    ("mode", "reveal"),
    [
        ("top1", Reveal("top1", 1)),
        ("topk", Reveal("topk", 5)),
        ("topk:3", Reveal("topk", 3)),
        ("logits", Reveal("logits", 10)),
        ("probabilities", Reveal("probabilities", 10)),
    ],
)
def test_reveal_modes(mode: str, reveal: Reveal) -> None:
    assert compile_model(flat(nn.ReLU()), X[:8], name="n", reveal=mode, weight_bits=8).plan.reveal == reveal


def test_a_final_softmax_is_left_to_the_reveal() -> None:
    torch.manual_seed(0)
    net = flat(nn.ReLU())
    ends = [
        compile_model(nn.Sequential(net, *h), X[:64], name="n", weight_bits=10)
        for h in ([], [nn.LogSoftmax(1)])
    ]
    assert ends[0].plan.to_json().replace("0.", "") == ends[1].plan.to_json().replace("0.", "")
    with pytest.raises(CompileError, match="ends in a Softmax"):
        compile_model(nn.Sequential(net, nn.Softmax(1)), X[:8], name="n", reveal="logits")


def test_bits_are_chosen_for_each_layer_under_a_budget() -> None:
    module = load_module("blindsight.models.zoo.nets:FashionNet", zoo.HERE / "fashion.safetensors")
    x = np.load(zoo.pictures("fashion"))["x"]
    compiled = compile_model(module, x[:300], name="fashion", mean=0.286041, std=0.353024)
    assert compiled.agreement >= TARGET and compiled.tried[-1].agreement == compiled.agreement
    assert all(attempt.agreement < TARGET for attempt in compiled.tried[:-1])
    bits = {op.weight_bits for op in compiled.plan.weighted}
    widths = {op.m for op in compiled.plan if isinstance(op, ReducedOp)}
    assert min(bits) >= 4 and max(bits) <= 16 and max(bits) < 16 and widths <= set(range(12, 17))
    assert len(bits) > 1 or len(widths) > 1  # not the same for all
    finest = compile_model(module, x[:300], name="f", mean=0.286041, std=0.353024, weight_bits=16, m=16)
    cost, most = (
        sum(op.m * op.size for op in c.plan if isinstance(op, ReducedOp)) for c in (compiled, finest)
    )
    assert cost < 0.9 * most
    fixed = run_values(compiled.plan, compiled.model.ints, x[300:, :, :, None], np.random.default_rng(5))
    assert (fixed.argmax(1) == forward(compiled.model.graph, x[300:, :, :, None]).argmax(1)).mean() >= 0.99
    assert "proved" in compiled.explain() and "calibrated, headroom" in compiled.explain()


def test_the_report_gives_bound_room_bits_and_measured_error() -> None:
    torch.manual_seed(2)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4 * 169, 10)
    )
    compiled = compile_model(module, X[:32], name="n")
    rows = {row["layer"]: row for row in compiled.layers()}
    assert {op.out for op in compiled.plan if not isinstance(op, Reshape)} == set(rows)
    for op in compiled.plan.weighted:
        row = rows[op.out]
        assert row["weight_bits"] == op.weight_bits and row["bound"] < row["limit"] and row["room_bits"] > 0
        assert 0 < row["rms_error_units"] <= row["max_error_units"] and row["relative_error"] < 0.02
    for op in compiled.plan:
        if isinstance(op, ReducedOp):
            row = rows[op.out]
            assert (row["m"], row["f"]) == (op.m, op.f) and row["bound"] < row["limit"]
            assert row["max_error_units"] < 8
    text = compiled.explain()
    assert all(word in text for word in ("room", "rms error", "weights", " bit "))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_predicted_noise_is_the_measured_one(seed: int) -> None:
    """`models.noise` against the fixed-point simulation: the spread of the margin's error within a factor of two."""
    torch.manual_seed(seed)
    module = nn.Sequential(
        *(nn.Conv2d(1, 6, 3, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(200, 10)),
    )
    for bits, m in ((8, 16), (14, 9)):
        made = compile_model(module, X[:64], name="n", weight_bits=bits, m=m, headroom=4.0)
        predicted = Noise(made.lowering, gradients(made.graph, X[:48, :, :, None]))
        layers, widths = dict.fromkeys(predicted.layers, bits), dict.fromkeys(predicted.truncations, m)
        spread = predicted.variance(layers, widths) ** 0.5
        x = X[:200, :, :, None]
        floats = forward(made.graph, x)
        rows, order = np.arange(len(x)), np.argsort(floats, axis=1)
        best, next_best = order[:, -1], order[:, -2]
        fixed = run_values(made.plan, made.model.ints, x, np.random.default_rng(1))
        fixed = fixed / 2.0**made.plan.output_scale
        error = (fixed - floats)[rows, best] - (fixed - floats)[rows, next_best]
        assert 0.5 < error.std() / spread < 2


@pytest.mark.parametrize("m", [12, 16])
def test_bounds_hold_on_pictures_far_from_calibration(m: int) -> None:
    """What is `proved` holds for every picture: noise, black, white. Weights are large, calibration is dark."""
    torch.manual_seed(3)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 169, 10)
    )
    compiled = compile_model(module, X[:32], name="n", weight_bits=10, m=m)
    proved = {row.layer for row in compiled.lowering.rows if row.bound is not None and row.bound.proved}
    assert "0" in proved
    rng = np.random.default_rng(0)
    hard = np.concatenate([rng.integers(0, 2, (16, 28, 28, 1)) * 255, np.full((1, 28, 28, 1), 255)]).astype(
        np.uint8
    )
    limits = {op.inputs[0]: op for op in compiled.plan if isinstance(op, ReducedOp)}

    def tap(op: Op, values: np.ndarray) -> None:
        after = limits.get(op.out)
        if op.out in proved and after is not None:
            assert np.abs(values).max() < (1 << (after.m - 1 + after.f)) - (1 << after.f)

    run_values(compiled.plan, compiled.model.ints, hard, rng, tap=tap)


def test_large_weights_lose_bits_rather_than_overflow() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    module[1].weight.data *= 1000
    module[3].weight.data *= 1e-4
    compiled = compile_model(module, X[:64], name="n", weight_bits=16)
    assert all(op.weight_bits >= 4 for op in compiled.plan if isinstance(op, Linear))
    top = run_values(
        compiled.plan, compiled.model.ints, X[64:128, :, :, None], np.random.default_rng(0)
    ).argmax(1)
    wanted = forward(compiled.model.graph, X[64:128, :, :, None]).argmax(1)
    assert (top == wanted).mean() > 0.95


def test_intervals_contain_every_value() -> None:
    rng = np.random.default_rng(0)
    low = rng.integers(-50, 0, (3, 6, 6)).astype(np.float64)
    high = low + rng.integers(0, 50, low.shape)
    w, b = rng.integers(-9, 9, (4, 3, 3, 3)), rng.integers(-9, 9, (4, 1, 1)).astype(np.float64)
    bound = Interval(low, high).convolve(w, b, (2, 1), (1, 0, 1, 0), 1)
    for _ in range(50):
        x = np.floor(low + rng.random(low.shape) * (high - low + 1))
        y = kernels.conv2d(x[None], w.astype(np.float64), (2, 1), (1, 0, 1, 0), 1)[0] + b
        assert (bound.low <= y).all() and (y <= bound.high).all()


def test_dropped_bits_are_the_fewest() -> None:
    for bound, error, m, signed in (
        (70000.0, 0.0, 16, False),
        (70000.0, 3.1, 16, False),
        (8000.0, 0.0, 16, True),
    ):
        f = dropped_bits(bound, error, m, signed)
        width = m - (2 if signed else 1)

        def fits(f: int, bound: float = bound, error: float = error, width: int = width) -> bool:
            return bound < 2 ** (width + f) - (2**f if f else 0) and (error == 0 or error <= 2.0 ** (f - 4))

        assert fits(f) and (f == 0 or not fits(f - 1))


def test_state_dicts_are_loaded_without_pickle(tmp_path: Path) -> None:
    source = "blindsight.models.zoo.nets:LeNet"
    state = load_module(source).state_dict()
    torch.save(state, tmp_path / "a.pt")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "b.pt")
    save_file(state, tmp_path / "c.safetensors")
    for name in ("a.pt", "b.pt", "c.safetensors"):
        loaded = load_module(source, tmp_path / name).state_dict()
        assert all(torch.equal(v, loaded[k]) for k, v in state.items())


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("the pickle was loaded",))


def test_pickled_networks_are_refused_by_name(tmp_path: Path) -> None:
    torch.save(Bomb(), tmp_path / "net.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Bomb()))
    torch.save({"fc1.weight": torch.zeros(1)}, tmp_path / "other.pt")
    source = "blindsight.models.zoo.nets:LeNet"
    for call, message in (
        (lambda: load_module(str(tmp_path / "net.pt")), "pickled"),
        (lambda: load_module(source, tmp_path / "net.pt"), "pickled"),
        (lambda: load_module(source, tmp_path / "raw.pt"), "pickled"),
        (lambda: load_module(source, tmp_path / "other.pt"), "does not fit"),
        (lambda: load_module(source, tmp_path / "none.pt"), "no such file"),
        (lambda: load_module("nowhere:Net"), "cannot import"),
        (lambda: load_module("blindsight.models.zoo.nets:None"), "cannot import"),
        (lambda: load_module("math:sqrt"), "TypeError"),
        (lambda: load_module("os:getcwd"), "not a torch.nn.Module"),
        (lambda: load_module(str(tmp_path / "none.pt2")), "no such file"),
        (lambda: load_module(str(zoo.path("mnist"))), "compiled model already"),
    ):
        with pytest.raises(CompileError) as caught:
            call()
        assert message in str(caught.value), (message, str(caught.value))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("batch", [1, None])
def test_exported_archives_compile_to_the_same_function(batch: int | None, tmp_path: Path) -> None:
    module = load_module("blindsight.models.zoo.nets:FashionNet", zoo.HERE / "fashion.safetensors")
    dynamic = {"x": {0: torch.export.Dim("n", min=2, max=64)}} if batch is None else None
    exported = torch.export.export(module, (torch.zeros(batch or 2, 1, 28, 28),), dynamic_shapes=dynamic)
    torch.export.save(exported, tmp_path / "net.pt2")
    x = np.load(zoo.pictures("fashion"))["x"][:, :, :, None]
    arguments: dict[str, Any] = {"name": "fashion", "mean": 0.286041, "std": 0.353024, "weight_bits": 9}
    ours = compile_model(load_module(str(tmp_path / "net.pt2")), x[:64], **arguments)
    theirs = compile_model(module, x[:64], **arguments)
    assert [op.kind for op in ours.plan] == [op.kind for op in theirs.plan]
    assert np.allclose(forward(ours.model.graph, x[:20]), forward(theirs.model.graph, x[:20]), atol=1e-4)
    if batch is not None:
        core = compile_model(exported.run_decompositions().module(), x[:64], **arguments)
        assert np.allclose(forward(core.model.graph, x[:20]), forward(theirs.model.graph, x[:20]), atol=1e-4)
    (tmp_path / "bad.pt2").write_bytes((tmp_path / "net.pt2").read_bytes()[:500])
    with pytest.raises(CompileError, match="archive"):
        load_module(str(tmp_path / "bad.pt2"))


def test_the_zoo_is_what_its_weights_compile_to() -> None:
    """The committed model is the committed weights' (float reference equal to PyTorch's forward)."""
    module = load_module("blindsight.models.zoo.nets:LeNet", zoo.HERE / "mnist.safetensors")
    graph = Model.load(zoo.path("mnist")).graph
    z = (torch.from_numpy(X[:64, None]).float() / 255 - graph.mean[0]) / graph.std[0]
    with torch.no_grad():
        theirs = module(z).numpy()
    assert np.abs(forward(graph, X[:64, :, :, None]) - theirs).max() < 1e-4
