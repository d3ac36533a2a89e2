"""The compiler: a PyTorch module and calibration pictures become a model and its public plan."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from blindsight.nn import compact, floatnet
from blindsight.nn.floatnet import FloatGraph
from blindsight.nn.ideal import run_values
from blindsight.nn.model import STORAGES, Model
from blindsight.nn.plan import Plan, Reveal

from . import choose, fold, noise, report
from .builder import CompileError
from .lower import Lowering, lower
from .state import Settings
from .trace import Traced, trace

TARGET = 0.995  # agreement with the float network that the weight bits are chosen for
AIM = 0.997  # agreement that the choice of bits is made for, before it is tried
BEST_EFFORT = 1.2  # times the least noise there can be, where the target is out of reach
TRIES = 4
WORK = 3e10  # multiplications of one simulation
SIMULATED = 512  # calibration pictures at most that a simulation takes


@dataclass(frozen=True)
class Loss:
    """What compact storage costs against the trained network, float against float, on the calibration pictures.

    `accuracy` is (trained, compact), None without labels.
    """

    agreement: float
    count: int
    accuracy: tuple[float, float] | None

    def __str__(self) -> str:
        text = f"compact storage agrees with the trained network on {self.agreement:.2%} of {self.count} pictures"
        if self.accuracy is None:
            return text
        before, after = self.accuracy
        return f"{text}; accuracy {before:.2%} -> {after:.2%}, a loss of {100 * (before - after):+.2f} points"


@dataclass(frozen=True)
class Attempt:
    """A choice of bits that was simulated, and its expected top-1 agreement with the float reference."""

    weight_bits: str
    m: str
    agreement: float

    def __str__(self) -> str:
        return f"weights {self.weight_bits}, m {self.m}: {self.agreement:.2%}"


@dataclass
class Compiled:
    """The result: `model` (plan, integer weights, float reference) and how it was made.

    `graph` is the float network whose tensors bear the plan's names; `weight_bits` the most of any layer.
    """

    model: Model
    lowering: Lowering
    graph: FloatGraph
    agreement: float
    simulated: int
    tried: list[Attempt]
    errors: dict[str, report.Error] = field(default_factory=dict)
    loss: Loss | None = None

    @property
    def plan(self) -> Plan:
        return self.model.plan

    @property
    def weight_bits(self) -> int:
        return max((op.weight_bits for op in self.plan.weighted), default=0)

    def save(self, path: str | Path) -> None:
        """Write M.bsm and M.plan.json."""
        self.model.save(path)

    def layers(self) -> list[dict[str, Any]]:
        """Of every layer: bits, bound, room, measured error (`compile --json`)."""
        return report.layers(self.lowering.rows, self.errors)

    def explain(self) -> str:
        """A table of layers: scales, bits, bounds and how each bound is known, errors measured against float."""
        plan = self.plan
        size = f"{plan.channels} x {plan.height} x {plan.width}"
        lines = [f"{plan.name}: {len(plan.ops)} operations on {size} pictures, reveal {plan.reveal.mode}"]
        lines += report.table(self.lowering.rows, self.errors)
        lines.append(
            f"expected agreement with the float reference ({self.simulated} pictures in fixed point): "
            + "; ".join(map(str, self.tried))
        )
        if self.loss:
            lines.append(str(self.loss))
        if self.agreement < TARGET:
            lines.append(
                f"warning: {self.agreement:.2%} is below {TARGET:.1%}: calibrate with typical pictures, or train "
                "with larger margins"
            )
        return "\n".join(lines)


def compile_model(
    module: nn.Module,
    calibration: np.ndarray,
    *,
    name: str,
    mean: Sequence[float] | float = 0.0,
    std: Sequence[float] | float = 1.0,
    labels: Sequence[str] | None = None,
    reveal: str = "top1",
    weight_bits: int | Literal["auto"] = "auto",
    m: int | Literal["auto"] = "auto",
    headroom: float | None = None,
    storage: str = "full",
    truth: np.ndarray | None = None,
) -> Compiled:
    """Compile `module`, which takes float32 (N, C, H, W) = (x / 255 - mean) / std and returns logits (N,
    classes).

    Args:
        calibration: uint8 (N, H, W, C) or (N, H, W); typical pictures, some hundred.
        reveal: `top1`, `topk` (five classes), `topk:K`, `logits` or `probabilities`.
        weight_bits: 8 to 16 for all layers, or `auto`: for each layer what the budget allows (`models.choose`).
        m: bits of an activation, 8 to 16 for all, or `auto`: 12 to 16 for each; fewer make the secure run cheaper (12
            bits: a quarter).
        headroom: by how much a picture may exceed the greatest values that calibration saw; 4 where m is 15 or more
            or chosen, else 2.
        storage: `full`, or `compact`: a byte a weight (`nn.compact`), the float reference being the dequantised network.
        truth: (N,) classes of the calibration pictures, for the accuracy that compact storage costs.

    Raises:
        CompileError: one line that names the layer and what to do.
    """
    pictures = _pictures(calibration)
    height, width, channels = pictures.shape[1:]
    means, stds = (_per_channel(v, channels, n) for v, n in ((mean, "mean"), (std, "std")))
    if weight_bits != "auto" and not 8 <= weight_bits <= 16:
        raise CompileError(f"weight bits must be 8 to 16 or auto, not {weight_bits}")
    if m != "auto" and not 8 <= m <= 16:
        raise CompileError(f"m must be 8 to 16 or auto, not {m}")
    if storage not in STORAGES:
        raise CompileError(f"storage {storage!r}: use {' or '.join(STORAGES)}")
    traced, reference = _read(module, (channels, height, width), means, stds, pictures)
    if traced.heads and reveal == "logits":
        raise CompileError(
            f"the network ends in a {traced.heads[0]}: reveal probabilities, or return the logits"
        )
    stored = _single(reference)
    graph = fold.integer_form(reference)
    seen = _extremes(_single(graph), pictures)
    parts = {
        "name": name,
        "height": height,
        "width": width,
        "channels": channels,
        "pixel_format": {1: "gray8", 3: "rgb888"}.get(channels, f"{channels} channels"),
        "labels": tuple(labels or ()),
        "reveal": _reveal(reveal, stored.ops[-1].shape[0]),
    }
    search = _Search(parts, graph, stored, seen, pictures, storage, headroom)
    best = search.run(None if weight_bits == "auto" else weight_bits, None if m == "auto" else m)
    best.errors = report.measure(best.graph, best.plan, best.model.ints, best.lowering.rows, pictures)
    if storage == "compact":
        best.loss = _loss(stored, best.model.graph, pictures, truth)
    return best


@dataclass
class _Search:
    """One network to be lowered with some choice of bits or other."""

    parts: dict[str, Any]
    graph: FloatGraph
    stored: FloatGraph
    seen: dict[str, float]
    pictures: np.ndarray
    storage: str
    headroom: float | None
    tried: list[Attempt] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.single = _single(self.graph)
        work = max(1, noise.multiplications(self.graph))
        self.some = self.pictures[: int(min(SIMULATED, max(8, WORK // work)))]
        self.floats = floatnet.forward(self.stored, self.pictures[:SIMULATED])

    def run(self, bits: int | None, m: int | None) -> Compiled:
        headroom = self.headroom or (4.0 if m is None or m >= 15 else 2.0)
        reveal = self.parts["reveal"].mode
        settings = Settings(bits or 12, m or 16, headroom, {}, reveal, self.storage)
        if bits is not None and m is not None:
            return self.attempt(settings)
        base = lower(self.graph, self.seen, settings)
        spread = noise.Noise(base, noise.gradients(self.single, self.some))
        least = choose.finest(spread, bits, m)
        floor = spread.variance(*least)
        allowed = choose.Margins.of(self.floats).budget(AIM)
        hopeless = self.storage == "full" and allowed < BEST_EFFORT * floor
        budget = floor + allowed if self.storage == "compact" else max(allowed, BEST_EFFORT * floor)
        made: list[Compiled] = []
        while len(made) < TRIES:
            kinds, widths = choose.coarser(spread, least, (bits is None, m is None), budget)
            most = max(widths.values(), default=settings.m)
            made.append(self.attempt(replace(settings, m=most, caps={}, bits=kinds, widths=widths)))
            if hopeless or made[-1].agreement >= TARGET:
                return made[-1]
            budget = floor + (budget - floor) / 3
        return max(made, key=lambda c: c.agreement)

    def attempt(self, settings: Settings) -> Compiled:
        lowering = lower(self.graph, self.seen, settings)
        plan = Plan(**self.parts, ops=tuple(lowering.ops))
        if self.storage == "compact":
            graph = compact.reference(plan, lowering.ints, self.graph)
            model = Model(plan, lowering.ints, graph, self.storage)
            floats = floatnet.forward(graph, self.some)
        else:
            graph, model = self.single, Model(plan, lowering.ints, self.stored)
            floats = self.floats[: len(self.some)]
        logits = run_values(plan, lowering.ints, self.some, np.random.default_rng(0))
        agreement = expected_agreement(floats, logits / 2.0**plan.output_scale)
        bits = {op.out: op.weight_bits for op in plan.weighted}
        widths = {row.layer: row.m for row in lowering.rows if row.m and row.kind not in ("clip", "lut")}
        self.tried.append(Attempt(choose.summary(bits), choose.summary(widths), agreement))
        return Compiled(model, lowering, graph, agreement, len(self.some), self.tried)


def _loss(trained: FloatGraph, small: FloatGraph, pictures: np.ndarray, truth: np.ndarray | None) -> Loss:
    some = pictures[: 8 * SIMULATED]
    before, after = (floatnet.forward(graph, some).argmax(axis=1) for graph in (trained, small))
    right = None
    if truth is not None:
        wanted = np.asarray(truth)[: len(some)]
        right = float(np.mean(before == wanted)), float(np.mean(after == wanted))
    return Loss(float(np.mean(before == after)), len(some), right)


def expected_agreement(floats: np.ndarray, fixed: np.ndarray) -> float:
    """Top-1 agreement of two sets of logits (N, classes): what was seen, or less where the margins foretell less.

    Few pictures show few disagreements. The error of the margin between the two best classes is taken as normal, with
    the spread seen over all pictures. That gives each picture a chance to change sides; and where the smallest tenth
    of the margins are as dense down to zero, new pictures change sides at density * spread / sqrt(2 pi).
    """
    rows = np.arange(len(floats))
    seen = float((floats.argmax(1) == fixed.argmax(1)).mean())
    if floats.shape[1] < 2:
        return seen
    second, first = np.argsort(floats, axis=1)[:, -2:].T
    margin = floats[rows, first] - floats[rows, second]
    error = fixed[rows, first] - fixed[rows, second] - margin
    spread = math.sqrt(float((error * error).mean())) + 1e-30
    these = float(np.mean([math.erfc(v / (spread * math.sqrt(2))) / 2 for v in margin]))
    others = 0.1 / (float(np.quantile(margin, 0.1)) + 1e-30) * spread / math.sqrt(2 * math.pi)
    return max(0.0, min(seen, 1 - these, 1 - others))


def _pictures(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    if x.ndim == 3:
        x = x[..., None]
    if x.dtype != np.uint8 or x.ndim != 4 or len(x) == 0:
        raise CompileError(
            f"calibration pictures must be uint8 (N, H, W, C) or (N, H, W), not {x.dtype} {x.shape}"
        )
    if x.shape[3] not in (1, 3):
        raise CompileError(f"pictures have {x.shape[3]} channels: gray (1) and RGB (3) are supported")
    return x


def _per_channel(value: Sequence[float] | float, channels: int, name: str) -> tuple[float, ...]:
    values = (float(value),) if isinstance(value, int | float) else tuple(float(v) for v in value)
    if len(values) == 1:
        values *= channels
    if len(values) != channels:
        raise CompileError(
            f"{name} has {len(values)} values for {channels} channels: give one, or one a channel"
        )
    return values


def _reveal(mode: str, classes: int) -> Reveal:
    if mode in ("logits", "probabilities"):
        return Reveal(mode, classes)
    if mode == "topk":
        return Reveal(mode, min(5, classes))
    digits = mode.removeprefix("topk:").removeprefix("topk").removeprefix("top")
    if mode.startswith("top") and digits.isdigit() and 1 <= int(digits) <= classes:
        return Reveal("top1", 1) if digits == "1" else Reveal("topk", int(digits))
    raise CompileError(f"reveal {mode!r}: use top1, topk:K (K up to {classes}), logits or probabilities")


def _single(graph: FloatGraph) -> FloatGraph:
    """The graph with float32 arrays, as it is stored and run."""
    arrays = {k: np.ascontiguousarray(v, np.float32) for k, v in graph.arrays.items()}
    return FloatGraph(graph.ops, arrays, graph.mean, graph.std)


def _extremes(graph: FloatGraph, pictures: np.ndarray) -> dict[str, float]:
    """Largest absolute value of each tensor over the calibration pictures."""
    seen: dict[str, float] = {}

    def tap(name: str, values: np.ndarray) -> None:
        seen[name] = max(seen.get(name, 0.0), float(np.abs(values).max(initial=0)))

    floatnet.forward(graph, pictures, tap)
    bad = next((name for name, value in seen.items() if not np.isfinite(value)), None)
    if bad is not None:
        raise CompileError(
            f"layer {bad!r}: its values overflow on the calibration pictures: check mean and std"
        )
    return seen


def _read(
    module: nn.Module,
    shape: tuple[int, int, int],
    means: tuple[float, ...],
    stds: tuple[float, ...],
    pictures: np.ndarray,
) -> tuple[Traced, FloatGraph]:
    """The graph read from the module and its reference form, which must give the module's own logits.

    Symbolic tracing first; where that reads another function, torch.export.
    """
    gap = math.inf
    for exported in (False, True):
        try:
            traced = trace(module, shape, means, stds, exported)
            reference = fold.reference(traced.graph)
        except CompileError:
            if exported:
                break
            raise
        apart = _gap(module, traced, _single(reference), pictures)
        if apart <= 1e-3:
            return traced, reference
        gap = min(gap, apart)
        if isinstance(module, torch.fx.GraphModule):
            break
    raise CompileError(
        f"the compiled graph gives other logits than the module (by {gap:.3g} of their size): it does something the "
        "compiler does not see (state, randomness, code outside forward); simplify its forward"
    )


def _gap(module: nn.Module, traced: Traced, graph: FloatGraph, pictures: np.ndarray) -> float:
    """Greatest difference between the logits of graph and module, over 1 + the greatest logit; inf where one is no number.

    The module is left in its mode.
    """
    count = traced.batch * max(1, 16 // traced.batch)
    some = pictures[np.arange(count) % len(pictures)]
    mean = torch.tensor(graph.mean, dtype=torch.float32).view(1, -1, 1, 1)
    std = torch.tensor(graph.std, dtype=torch.float32).view(1, -1, 1, 1)
    x = (torch.from_numpy(some.transpose(0, 3, 1, 2).copy()).float() / 255 - mean) / std
    net = module if isinstance(module, torch.fx.GraphModule) else copy.deepcopy(module).cpu().float().eval()
    ours = torch.from_numpy(floatnet.forward(graph, some))
    for head in traced.heads:
        ours = ours.log_softmax(1) if "log" in head.lower() else ours.softmax(1)
    with torch.no_grad():
        theirs = torch.cat([_only(net(part)) for part in x.split(traced.batch)])
    gap = float((ours - theirs).abs().max()) / (1 + float(theirs.abs().max()))
    return gap if math.isfinite(gap) else math.inf


def _only(result: Any) -> torch.Tensor:
    while isinstance(result, tuple | list):
        (result,) = result
    return result
