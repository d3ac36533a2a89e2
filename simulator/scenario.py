"""Scenario files: what boards do in a day, as TOML."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from blindsight.simulator.cost.band import Band
from blindsight.simulator.cost.data import CostError
from blindsight.simulator.cost.picture import Workload
from blindsight.simulator.fleet.groups import Fleet, parse
from blindsight.wire import WireError
from blindsight.wire.blocks import Mode

HERE = Path(__file__).resolve().parent / "scenarios"
_WORK = {
    "height", "width", "channels", "per_day", "sleep", "core", "tls", "per_block", "battery_mah"
}  # fmt: skip
_KNOWN = _WORK | {"title", "boards", "modes", "rtt_s", "server_s", "run", "fleet", "capacity"}
_RUN = {"model": str, "pictures": int, "ingest": str}


@dataclass(frozen=True)
class Capacity:
    """What `sim capacity` is asked: how many devices, with which network's measured costs, how late a picture may be."""

    devices: int = 1000
    per_day: float = 40.0
    model: str = "mnist"
    ingest: str = "rlwe"
    peak: float = 3.0
    wait_s: float = 1.0
    late: float = 0.05
    busy_hours: float = 2.0
    tls: bool = True


@dataclass(frozen=True)
class Scenario:
    """Boards, ingest modes and what they do; `run` is what `sim run` does with the real firmware."""

    title: str
    boards: tuple[str, ...]
    modes: tuple[Mode, ...]
    work: Workload
    run_model: str = "mnist"
    run_pictures: int = 3
    run_ingest: str = "rlwe"
    fleet: Fleet = field(default_factory=Fleet)
    capacity: Capacity = field(default_factory=Capacity)

    def workloads(self) -> list[tuple[str, Workload]]:
        """Every board with every mode."""
        return [(b, replace(self.work, mode=m)) for b in self.boards for m in self.modes]


def names() -> list[str]:
    """The scenarios that come with the package."""
    return [p.stem for p in sorted(HERE.glob("*.toml"))]


def load(where: str) -> Scenario:
    """A file, or the name of one of `names()`; CostError says what to mend."""
    path = HERE / f"{where}.toml" if where in names() else Path(where)
    try:
        raw = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise CostError(f"no scenario {where!r}; a TOML file, or one of {', '.join(names())}") from None
    except (ValueError, RecursionError) as error:  # tomllib's own, text that is no UTF-8, numbers too long
        raise CostError(f"{path.name}: not TOML: {error}") from None
    try:
        return _parse(raw, path)
    except (TypeError, ValueError, KeyError, OverflowError, WireError) as error:
        raise CostError(f"{path.name}: {error}") from None


def _parse(raw: dict[str, Any], path: Path) -> Scenario:
    unknown = set(raw) - _KNOWN
    if unknown:
        raise CostError(
            f"{path.name}: unknown entry {sorted(unknown)[0]!r}; known: {', '.join(sorted(_KNOWN))}"
        )
    for key in ("run", "fleet", "capacity"):
        if not isinstance(raw.get(key, {}), dict):
            raise CostError(f"{path.name}: {key} is a table: [{key}]")
    run = raw.get("run", {})
    for key, value in run.items():
        if key not in _RUN or not isinstance(value, _RUN[key]) or isinstance(value, bool):
            raise CostError(f"{path.name}: run.{key}: one of {', '.join(_RUN)}, as text or a whole number")
    boards = raw.get("boards")
    if not isinstance(boards, list) or not boards or not all(isinstance(b, str) for b in boards):
        raise CostError(f"{path.name}: boards is a list of names; `blindsight hw list` shows them")
    fields = {k: raw[k] for k in _WORK if k in raw}
    for key, value in fields.items():
        if type(value) is not type(getattr(Workload(), key)) and not (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and key in ("per_day", "battery_mah")
        ):
            raise CostError(f"{path.name}: {key}: {value!r} is of the wrong kind")
    for key, name in (("rtt_s", "rtt"), ("server_s", "server")):
        if key in raw:
            fields[name] = Band.of([float(v) for v in raw[key]])
    work = Workload(**fields)
    work.check()
    modes = tuple(Mode.named(m) for m in raw.get("modes", [m.label for m in Mode]))
    Mode.named(run.get("ingest", "rlwe"))
    if not 1 <= run.get("pictures", 3) <= 100:
        raise CostError(f"{path.name}: run.pictures is 1 to 100")
    return Scenario(
        str(raw.get("title", path.stem)), tuple(boards), modes, work, run.get("model", "mnist"),
        run.get("pictures", 3), run.get("ingest", "rlwe"), _fleet(raw, tuple(boards), work),
        _capacity(raw, work, path),
    )  # fmt: skip


def _fleet(raw: dict[str, Any], boards: tuple[str, ...], work: Workload) -> Fleet:
    """The [fleet] table; what it leaves out is the scenario's (board, pictures a day, battery, how it sleeps)."""
    own = {
        "board": boards[0], "per_day": float(work.per_day), "battery_mah": float(work.battery_mah),
        "sleep": "deep" if work.sleep == "deep" else "connected", **raw.get("fleet", {}),
    }  # fmt: skip
    return parse(own)


def _capacity(raw: dict[str, Any], work: Workload, path: Path) -> Capacity:
    """The [capacity] table; pictures a day are the scenario's where it does not say."""
    row = raw.get("capacity", {})
    out: dict[str, Any] = {"per_day": float(work.per_day)}
    for key, value in row.items():
        default = getattr(Capacity, key, None)
        if default is None:
            raise CostError(f"{path.name}: capacity.{key}: one of {', '.join(vars(Capacity()))}")
        whole = isinstance(value, int) and not isinstance(value, bool)
        if type(value) is not type(default) and not (isinstance(default, float) and whole):
            raise CostError(f"{path.name}: capacity.{key}: {value!r} is of the wrong kind")
        out[key] = float(value) if isinstance(default, float) else value
    Mode.named(out.get("ingest", "rlwe"))
    return Capacity(**out)
