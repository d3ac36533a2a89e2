"""Reads a module and holds what was read against it: the graph must give the module's own logits."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from torch import nn

from blindsight.nn import floatnet
from blindsight.nn.floatnet import FloatGraph

from . import fold
from .builder import CompileError
from .search import single
from .trace import Traced, trace


def read(
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
        apart = _gap(module, traced, single(reference), pictures)
        if apart <= 1e-3:
            return traced, reference
        if not math.isfinite(apart):
            extremes(single(reference), pictures)  # names the layer that overflows
        gap = min(gap, apart)
        if isinstance(module, torch.fx.GraphModule):
            break
    raise CompileError(
        f"the compiled graph gives other logits than the module (by {gap:.3g} of their size): it does something the "
        "compiler does not see (state, randomness, code outside forward); simplify its forward"
    )


def extremes(graph: FloatGraph, pictures: np.ndarray) -> dict[str, float]:
    """Largest absolute value of each tensor over the calibration pictures."""
    seen: dict[str, float] = {}

    def tap(name: str, values: np.ndarray) -> None:
        peak = float(np.abs(values).max(initial=0))
        seen[name] = max(seen.get(name, 0.0), peak if np.isfinite(peak) else np.inf)

    with np.errstate(over="ignore", invalid="ignore"):
        floatnet.forward(graph, pictures, tap)
    bad = next((name for name, value in seen.items() if not np.isfinite(value)), None)
    if bad is not None:
        raise CompileError(
            f"layer {bad!r}: its values overflow on the calibration pictures: check mean and std, or train with weight "
            "decay or a batch norm"
        )
    return seen


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
    with np.errstate(over="ignore", invalid="ignore"):  # reported as a layer that overflows
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
