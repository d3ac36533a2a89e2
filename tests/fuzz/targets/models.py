"""Plans, models, shares of concealed models."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from blindsight.nn.model import Model
from blindsight.nn.plan import Plan, PlanError
from blindsight.nn.shares import ModelShare, conceal, split

from .register import NESTED, ROOT, Finding, as_file, target


def _plan(side: int = 4) -> Plan:
    size = side * side
    ops = [
        {"op": "input", "out": "x", "shape": [1, side, side], "scale": 0},
        {"op": "reshape", "in": "x", "out": "v", "shape": [size], "scale": 0},
        {"op": "linear", "in": "v", "out": "y", "shape": [3], "scale": 4, "weight": "w", "bias": "b",
         "weight_bits": 8, "weight_scale": 4},
        {"op": "output", "in": "y", "out": "r", "shape": [3], "scale": 4},
    ]  # fmt: skip
    body = {
        "format": "blindsight-plan", "version": 1, "name": "toy", "labels": [], "output_scale": 4,
        "input": {"height": side, "width": side, "channels": 1, "pixel_format": "gray8"},
        "reveal": {"mode": "top1", "k": 1}, "deployment": "cloud-owned", "ops": ops,
    }  # fmt: skip
    return Plan.from_json(json.dumps(body))


def _model() -> Model:
    from blindsight.nn.floatnet import FloatGraph, FloatOp

    graph = FloatGraph(
        [
            FloatOp("input", "x", (), (1, 4, 4)),
            FloatOp("reshape", "v", ("x",), (16,)),
            FloatOp("linear", "y", ("v",), (3,), {}, {"weight": "w", "bias": "b"}),
        ],
        {"w": np.ones((3, 16), np.float32), "b": np.zeros(3, np.float32)}, (0.0,), (1.0,),
    )  # fmt: skip
    return Model(_plan(), {"w": np.ones((3, 16), np.int16), "b": np.zeros(3, np.int32)}, graph)


def _plans() -> list[bytes]:
    zoo = [p.read_bytes() for p in sorted((ROOT / "models" / "zoo").glob("*.plan.json"))]
    return [_plan().to_json().encode(), *(z for z in zoo if len(z) < 6000), *NESTED[:2]]


@target(_plans, PlanError)
def plans(data: bytes) -> None:
    """The public plan; what parses has the same hash when read from its own text."""
    plan = Plan.from_json(data)
    if Plan.from_json(plan.to_json()).hash != plan.hash:
        raise Finding("a plan that parses is another one when written")


def _models() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "toy.bsm"
        _model().save(path)
        return [path.read_bytes()]


@target(_models, PlanError)
def models(data: bytes) -> None:
    """M.bsm."""
    Model.from_bytes(data)


def _shares() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        out = []
        for share in split(conceal(_model())):
            path = Path(folder) / f"p{share.party}.bsm"
            share.save(path)
            out.append(path.read_bytes())
        return out


@target(_shares, PlanError)
def model_shares(data: bytes) -> None:
    """One server's share of a concealed model."""
    ModelShare.load(as_file(data, "share.bsm"), 0)
