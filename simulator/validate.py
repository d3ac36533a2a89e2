"""Predictions of the cost model next to what others measured and published.

Nothing in the cycle tables was fitted to these rows: `held_out` says so of each. `config_match` is true only where the
counted program is the measured one in what decides its time (source, parameters, optimisation level); other rows are
information. `error` is predicted / published - 1, by the middle of the band.
"""

from __future__ import annotations

import json
import tomllib
from typing import Any

from blindsight.simulator.cost.band import Band
from blindsight.simulator.cost.cycles import cycles
from blindsight.simulator.cost.data import DATA, tables

MHZ = 1e3  # cycles a millisecond


def rows() -> list[dict[str, Any]]:
    """Every row of `sim validate`."""
    published = tomllib.loads((DATA / "published.toml").read_text())
    return [*_mlkem(published["mlkem"]), *_whole(published["row"])]


def within(found: list[dict[str, Any]], limit: float = 0.25) -> bool:
    """Whether every held-out row of a matching configuration is within `limit`."""
    return all(abs(r["error"]) <= limit for r in found if r["held_out"] and r["config_match"])


def _mlkem(published: dict[str, Any]) -> list[dict[str, Any]]:
    counted = json.loads((DATA / "mlkem.json").read_text())
    out = []
    for what, (total, hashing) in published["clean"].items():
        counts = counted["operations"][what]["without_hashing"]
        predicted = cycles("cortex-m4", counts, memory=False) / (published["mhz"] * MHZ)
        measured = total * (1 - hashing / 100) / (published["mhz"] * MHZ)
        row = _row(f"{what}, without hashing, Cortex-M4", predicted, measured, True, True)
        row |= {
            "counts_from": counted["counts_from"],
            "source": published["source"],
            "note": published["note"],
        }
        out.append(row)
    return out


def _whole(published: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of one instruction count without classes: the core's mean cycles an instruction on our own encryption."""
    out = []
    for p in published:
        predicted = _mean(p["core"]) * p["instructions"] / (p["mhz"] * MHZ)
        row = _row(p["what"], predicted, p["ms"], p["held_out"], p["config_match"])
        out.append(row | {"counts_from": p["counts_from"], "source": p["source"], "note": p["note"]})
    return out


def _mean(core: str) -> Band:
    row = tables()["cores"][core]
    if "cpi" in row:
        return Band.of(row["cpi"]) * Band.of(row["memory"])
    counts = tables()["classes"][row["of"]]["modes"]["rlwe"]["total"]
    return cycles(core, counts) / counts["instructions"]


def _row(what: str, predicted: Band, published: float, held_out: bool, match: bool) -> dict[str, Any]:
    return {
        "what": what,
        "predicted_ms": round(predicted.mid, 3),
        "predicted_low_ms": round(predicted.low, 3),
        "predicted_high_ms": round(predicted.high, 3),
        "published_ms": round(published, 3),
        "error": round(predicted.mid / published - 1, 4),
        "held_out": held_out,
        "config_match": match,
    }
