"""The compiler: a PyTorch module and calibration pictures become a model and its public plan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from torch import nn

from blindsight.nn import floatnet
from blindsight.nn.floatnet import FloatGraph
from blindsight.nn.model import STORAGES
from blindsight.nn.plan import Reveal
from blindsight.wire.keys import MODEL

from . import fold, report
from .builder import CompileError
from .compiled import Compiled, Loss
from .read import extremes, read
from .search import SIMULATED, Search, single

__all__ = ["Compiled", "compile_model"]


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
        name: a-z, 0-9, `.`, `_`, `-`; capitals become small.
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
    if headroom is not None and not 1 <= headroom < math.inf:
        raise CompileError(f"headroom must be a number of 1 or more, not {headroom}")
    name = name.lower()  # as manifests write it
    if not MODEL.fullmatch(name) or not name[0].isalnum():
        raise CompileError(
            f"name {name!r}: use letters, digits, '.', '_', '-', at most 64, the first no sign"
        )
    if storage not in STORAGES:
        raise CompileError(f"storage {storage!r}: use {' or '.join(STORAGES)}")
    traced, reference = read(module, (channels, height, width), means, stds, pictures)
    if traced.heads and reveal == "logits":
        raise CompileError(
            f"the network ends in a {traced.heads[0]}: reveal probabilities, or return the logits"
        )
    stored = single(reference)
    classes = stored.ops[-1].shape[0]
    if labels and len(labels) != classes:
        raise CompileError(f"{len(labels)} labels for {classes} classes")
    graph = fold.integer_form(reference)
    seen = extremes(single(graph), pictures)
    parts = {
        "name": name,
        "height": height,
        "width": width,
        "channels": channels,
        "pixel_format": {1: "gray8", 3: "rgb888"}.get(channels, f"{channels} channels"),
        "labels": tuple(labels or ()),
        "reveal": _reveal(reveal, classes),
    }
    search = Search(parts, graph, stored, seen, pictures, storage, headroom)
    best = search.run(None if weight_bits == "auto" else weight_bits, None if m == "auto" else m)
    best.errors = report.measure(best.graph, best.plan, best.model.ints, best.lowering.rows, pictures)
    if storage == "compact":
        best.loss = _loss(stored, best.model.graph, pictures, truth)
    return best


def _loss(trained: FloatGraph, small: FloatGraph, pictures: np.ndarray, truth: np.ndarray | None) -> Loss:
    some = pictures[: 8 * SIMULATED]
    before, after = (floatnet.forward(graph, some).argmax(axis=1) for graph in (trained, small))
    right = None
    if truth is not None:
        wanted = np.asarray(truth)[: len(some)]
        right = float(np.mean(before == wanted)), float(np.mean(after == wanted))
    return Loss(float(np.mean(before == after)), len(some), right)


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
    if not all(map(math.isfinite, values)):
        raise CompileError(f"{name} must be numbers, not {values}")
    return values


def _reveal(mode: str, classes: int) -> Reveal:
    if mode == "probabilities" and classes < 2:
        raise CompileError("probabilities need 2 classes or more, the network has 1: reveal logits")
    if mode in ("logits", "probabilities"):
        return Reveal(mode, classes)
    if mode == "topk":
        return Reveal(mode, min(5, classes))
    digits = mode.removeprefix("topk:").removeprefix("topk").removeprefix("top")
    if mode.startswith("top") and digits.isdigit() and 1 <= int(digits) <= classes:
        return Reveal("top1", 1) if digits == "1" else Reveal("topk", int(digits))
    raise CompileError(f"reveal {mode!r}: use top1, topk:K (K up to {classes}), logits or probabilities")
