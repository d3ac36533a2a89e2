"""Reads what the model stands on: board and profile files, instruction counts, cycle tables, assumptions.

`hw` below is the folder of the room hw (profiles/, boards/, measured/), whose files are data here; hw checks them.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from blindsight.errors import OneLine
from blindsight.simulator.cost.band import Band

DATA = Path(__file__).resolve().parents[1] / "data"
SCALE = {"uA": 1e-3, "kB/s": 1e-3}  # to mA and MB/s


class CostError(OneLine):
    """Something the model cannot cost; one line that names the fix."""


@dataclass(frozen=True)
class Used:
    """A number the model used, with where it comes from."""

    name: str
    band: Band
    unit: str
    kind: str
    source: str

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {
            "name": self.name, **self.band.to_json(), "unit": self.unit, "kind": self.kind, "source": self.source
        }  # fmt: skip


@dataclass
class Board:
    """A board and its chip. Every number taken is noted in `used`."""

    id: str
    title: str
    profile: str
    cpu: str
    measured: str
    network: str
    install: str
    quantities: dict[str, Any]
    sources: dict[str, str]
    used: dict[str, Used] = field(default_factory=dict)

    @property
    def linux(self) -> bool:
        """A computer with an operating system, whose currents are the whole board's."""
        return self.install == "linux"

    def take(self, name: str, *wanted: str, assumed: str) -> Band:
        """The first of the profile's quantities `wanted` (dotted names), else the assumption; noted under `name`.
        Currents come in mA, throughput in the profile's unit.
        """
        for key in wanted:
            if key in self.quantities:
                q = self.quantities[key]
                scale = SCALE.get(q["unit"], 1.0)
                band = Band.of([scale * q.get(k, q["value"]) for k in ("low", "value", "high")])
                unit = {"uA": "mA", "kB/s": "MB/s"}.get(q["unit"], q["unit"])
                kind = q["kind"] + (" (unchecked transcription)" if q.get("via") == "transcription" else "")
                self.used[name] = Used(name, band, unit, kind, self.sources[q["source"]])
                return band
        return self.assume(assumed, name)

    def assume(self, key: str, name: str = "") -> Band:
        """An assumption, noted."""
        group, _, entry = key.partition(".")
        raw = tables()["assumed"][group][entry]
        scale = 1e-3 if raw["unit"] == "uA" else 1.0
        band = Band.of([scale * v for v in raw["band"]])
        unit = "mA" if raw["unit"] == "uA" else raw["unit"]
        self.used[name or key] = Used(name or key, band, unit, "assumed", raw["why"])
        return band


@cache
def tables() -> dict[str, Any]:
    """cores, assumed, classes."""
    return {
        "cores": tomllib.loads((DATA / "cores.toml").read_text()),
        "assumed": tomllib.loads((DATA / "assumed.toml").read_text()),
        "classes": json.loads((DATA / "classes.json").read_text()),
    }


def load_board(hw: Path, name: str) -> Board:
    """The board `name` of hw/boards with its profile."""
    path = hw / "boards" / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(p.stem for p in sorted((hw / "boards").glob("*.toml")))
        raise CostError(f"no board {name!r}; known: {known}")
    raw = tomllib.loads(path.read_text())
    profile = tomllib.loads((hw / "profiles" / f"{raw['profile']}.toml").read_text())
    quantities = {
        f"{group}.{key}": entry
        for group, rows in profile.items()
        if isinstance(rows, dict) and group != "sources"
        for key, entry in rows.items()
    }
    return Board(
        name, raw["title"], raw["profile"], profile["cpu"], raw["measured"], raw["network"], raw["install"],
        quantities, profile["sources"],
    )  # fmt: skip


def load_counts(hw: Path, target: str) -> dict[str, Any]:
    """hw/measured/TARGET.json."""
    path = hw / "measured" / f"{target}.json"
    if not path.is_file():
        raise CostError(
            f"no counts for {target}: `blindsight hw measure --target {target} --json` makes them"
        )
    counts: dict[str, Any] = json.loads(path.read_text())
    return counts


def board_names(hw: Path) -> list[str]:
    """Every board."""
    return [p.stem for p in sorted((hw / "boards").glob("*.toml"))]
