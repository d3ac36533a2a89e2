"""Predictions of the cost model next to what others measured and published.

Nothing in the cycle tables was fitted to these rows: `held_out` says so of each. `config_match` is true only where the
counted program is the measured one in what decides its time (source, parameters, optimisation level); other rows are
information. `error` is predicted / published - 1, by the middle of the band.

`measured` sets the model beside what `blindsight hw hil` measured on boards: a file of its metrics, one JSON object a line.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from blindsight.simulator.cost.band import Band
from blindsight.simulator.cost.cycles import cycles
from blindsight.simulator.cost.data import DATA, CostError, board_names, load_board, load_counts, tables
from blindsight.simulator.cost.picture import Workload, cost
from blindsight.wire.blocks import Mode

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


def measured(hw: Path, metrics: Path) -> list[dict[str, Any]]:
    """Modelled beside measured, a row for each metric of the file that the model has a figure for: milliseconds of a
    polynomial on boards (`MODE polynomial`, both with the C core and with viper, as the file does not say which ran), and
    instructions on emulated cores (`MODE instructions`). The last measurement of a body counts. [] without a file.
    """
    if not metrics.exists():
        return []
    last: dict[tuple[str, str], dict[str, Any]] = {}
    for number, line in enumerate(metrics.read_text().splitlines(), 1):
        try:
            row = json.loads(line)
            last[row["body"], row["metric"]] = row | {
                "median": float(row["median"]),
                "spread": float(row["spread"]),
            }
        except (ValueError, KeyError, TypeError):
            raise CostError(f"{metrics}, line {number}: not a metric of `blindsight hw hil`") from None
    out = []
    for (body, metric), row in sorted(last.items()):
        mode, _, what = metric.rpartition(" ")
        if what == "instructions" and mode in {m.label for m in Mode}:
            out += _instructions(hw, body, mode, row)
        elif what == "polynomial" and mode in {m.label for m in Mode} and row.get("board") in board_names(hw):
            out += [_polynomial(hw, body, mode, core, row) for core in ("native", "viper")]
    return out


def _instructions(hw: Path, body: str, mode: str, row: dict[str, Any]) -> list[dict[str, Any]]:
    try:
        counted = load_counts(hw, str(row.get("board")))["modes"][mode]["instructions"]
    except (CostError, KeyError):
        return []
    return [
        _beside(body, row, f"{mode} instructions of a polynomial", "1", Band.exact(counted), "hw/measured")
    ]


def _polynomial(hw: Path, body: str, mode: str, core: str, row: dict[str, Any]) -> dict[str, Any]:
    name = str(row["board"])
    work = Workload(mode=Mode.named(mode), height=31, width=32, core=core, sleep="connected", tls=False)
    if load_board(hw, name).linux:
        work = replace(work, sleep="none")
    found = cost(hw, name, work)
    inner = [s.seconds for s in found.stages if s.name not in NOT_ENCRYPTION]
    ms = Band(*(1e3 * sum(getattr(b, k) for b in inner) for k in ("low", "mid", "high")))
    clock = float(load_board(hw, name).quantities["compute.clock"]["value"])
    if row.get("mhz"):
        ms = ms * (clock / float(row["mhz"]))  # it ran at another clock than the profile's
    label = "C core" if core == "native" else "viper"
    return _beside(body, row, f"{mode} polynomial, {label}", "ms", ms, f"cost model of {name}")


NOT_ENCRYPTION = {
    "wake", "capture", "join", "tls handshake", "tls records", "radio", "round trips", "answer", "hash", "interpreter",
}  # fmt: skip


def _beside(
    body: str, row: dict[str, Any], what: str, unit: str, modelled: Band, source: str
) -> dict[str, Any]:
    return {
        "body": body,
        "board": row.get("board"),
        "what": what,
        "unit": unit,
        "modelled": modelled.to_json(),
        "measured": row["median"],
        "spread": row["spread"],
        "n": row.get("n"),
        "error": round(modelled.mid / row["median"] - 1, 4) if row["median"] else None,
        "within_band": modelled.low <= row["median"] <= modelled.high,
        "run": row.get("run"),
        "firmware_sha256": row.get("firmware_sha256"),
        "modelled_from": source,
    }
