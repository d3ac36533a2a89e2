"""What the live page asks: what is served, test pictures, and the cost on a board. Plain dicts, JSON as they are."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np

from blindsight.app.web_stage import MODES, Served, Stage
from blindsight.hw import profiles
from blindsight.simulator.cost import Band, CostError, Workload, cost
from blindsight.wire.blocks import Mode

PAGE = 24  # test pictures an answer
BATTERY_MAH, PER_DAY = 2000.0, 40.0


def state(stage: Stage) -> dict[str, Any]:
    """Models, ingest modes and boards; the page's first question."""
    return {
        "first": stage.first,
        "models": [_model(name, served) for name, served in stage.served.items()],
        "ingests": list(MODES),
        "ingest": stage.ingest,
        "boards": [
            {"id": b.id, "title": b.title, "linux": b.install == "linux", "note": b.note}
            for b in profiles.boards()
            if b.network != "none"
        ],
        "per_day": PER_DAY,
        "battery_mah": BATTERY_MAH,
    }


def _model(name: str, served: Served) -> dict[str, Any]:
    plan = served.model.plan
    return {
        "name": name, "shape": list(served.shape), "labels": served.labels, "pictures": len(served.x),
        "deployment": plan.deployment, "reveal": plan.reveal.mode,
        "layers": [{"layer": op.out, "kind": op.kind, "shape": list(op.shape)} for op in plan.ops],
    }  # fmt: skip


def pictures(stage: Stage, query: dict[str, str]) -> dict[str, Any]:
    """Test pictures `from` on: their bytes one after another, and their classes."""
    served = stage.served[query.get("model", "")]
    first = int(query.get("from", "0"))
    if not 0 <= first <= len(served.x):
        raise ValueError("from: no such picture")
    x = served.x[first : first + PAGE]
    y = None if served.y is None else [int(v) for v in served.y[first : first + PAGE]]
    return {
        "from": first,
        "shape": list(served.shape),
        "count": len(x),
        "x": base64.b64encode(x.tobytes()).decode(),
        "y": y,
    }


def board_cost(stage: Stage, query: dict[str, str]) -> dict[str, Any]:
    """The cost model's answer for a picture of the model on a board, the servers' latency as measured here."""
    height, width, channels = stage.served[query.get("model", "")].shape
    board = profiles.load_board(query.get("board", ""))
    server = float(query.get("server_s", "1"))
    if not (math.isfinite(server) and 0 < server < 3600):
        raise ValueError("server_s is a number of seconds")
    linux = board.install == "linux"
    work = Workload(
        Mode.named(query.get("ingest", "")), height, width, channels, PER_DAY, "none" if linux else "deep",
        server=Band.exact(server), battery_mah=0 if linux else BATTERY_MAH,
    )  # fmt: skip
    try:
        found = cost(profiles.HERE, board.id, work).to_json()
    except CostError as error:
        raise ValueError(str(error)) from None
    return {
        **found,
        "title": board.title,
        "linux": linux,
        "pixels": int(np.prod(stage.served[query["model"]].shape)),
    }
