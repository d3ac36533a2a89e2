"""Cycles of counted instructions on a core."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from blindsight.simulator.cost.band import Band, total
from blindsight.simulator.cost.data import Board, CostError, Used, load_counts, tables

NOT_CLASSES = {"instructions"}
OTHER = "other"


def core_of(profile: str) -> str:
    """The row of data/cores.toml for a profile."""
    for name, row in tables()["cores"].items():
        if profile in row["profiles"]:
            return str(name)
    raise CostError(f"no core model for profile {profile}: add it to simulator/data/cores.toml")


def cycles(core: str, counts: dict[str, int], memory: bool = True) -> Band:
    """Cycles of `counts` (class -> instructions, `taken` -> branches taken) by the core's table.

    A core with one CPI takes `instructions` alone. `memory=False` leaves flash waits out (zero wait states).
    """
    row = tables()["cores"][core]
    wait = Band.of(row["memory"]) if memory else Band.exact(1)
    if "cpi" in row:
        return Band.of(row["cpi"]) * counts["instructions"] * wait
    costs = row["classes"]
    unknown = set(counts) - set(costs) - NOT_CLASSES
    if unknown:
        raise CostError(
            f"{core}: no cycles for class {sorted(unknown)[0]}; add it to simulator/data/cores.toml"
        )
    return total(Band.of(costs[k]) * n for k, n in counts.items() if k not in NOT_CLASSES) * wait


def stage_cycles(hw: Path, board: Board, mode: str) -> tuple[dict[str, Band], int, dict[str, Any]]:
    """(stage -> cycles of one full polynomial of 1,024 pixels, its pixels, the row of hw/measured)."""
    core = core_of(board.profile)
    row = tables()["cores"][core]
    measured = load_counts(hw, row["of"])["modes"][mode]
    if "cpi" in row:
        counts = {s: {"instructions": n} for s, n in measured["stages"].items()}
        rest = measured["instructions"] - sum(measured["stages"].values())
        counts["aes" if mode == "aes" else OTHER] = {"instructions": rest}
    else:
        counts = tables()["classes"][row["of"]]["modes"][mode]["stages"]
    unit = "cycles an instruction"
    mean = total(cycles(core, c) for c in counts.values()) / measured["instructions"]
    source = f"{row['source']}; {row['memory_source']}; instructions of hw/measured/{row['of']}.json"
    board.used[f"cycles.{core}"] = Used(f"cycles.{core}", mean, unit, row["kind"], source)
    return {s: cycles(core, c) for s, c in counts.items()}, measured["pixels"], measured
