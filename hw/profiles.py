"""Boards and what is known about them: every number with value, unit, kind, conditions and source.

`boards/ID.toml` says what a board is (chip, camera, how firmware gets there); `profiles/ID.toml` holds the numbers of
its chip. A file is refused whole when one number lacks its source, is of an unknown kind or unit, or calls itself a
datasheet figure without saying how the datasheet was read.
"""

from __future__ import annotations

import re
import reprlib
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blindsight.errors import OneLine

HERE = Path(__file__).resolve().parent
KINDS = ("datasheet", "measured", "ci-bound", "derived", "assumed")
VIAS = ("pdf", "transcription")  # how a datasheet figure was read
UNITS = {
    "1", "MHz", "CoreMark", "KiB", "MiB", "B", "V", "mA", "uA", "s", "MB/s", "kB/s", "Mbit/s"
}  # fmt: skip
INSTALLS = ("micropython", "linux", "c-core")
LARGEST = 1e300  # whole numbers of TOML have no end
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class ProfileError(OneLine):
    """A board or profile file that may not be used; names the file, the entry and what it lacks."""


@dataclass(frozen=True)
class Quantity:
    """One sourced number. `low` and `high` bound it where the source gives a range; `via` is how a datasheet was read:
    a `transcription` still has to be compared with the manufacturer's PDF.
    """

    value: float
    unit: str
    kind: str
    conditions: str
    source: str
    low: float | None = None
    high: float | None = None
    via: str | None = None

    @property
    def label(self) -> str:
        """The kind as people should read it."""
        return "datasheet (unchecked transcription)" if self.via == "transcription" else self.kind


@dataclass(frozen=True)
class Profile:
    """A chip or computer; `quantities` by dotted name, e.g. `power.deep_sleep`."""

    id: str
    title: str
    cpu: str
    quantities: dict[str, Quantity]

    def __getitem__(self, name: str) -> Quantity:
        if name not in self.quantities:
            raise ProfileError(f"profile {self.id} has no {name}: add it, with its source, or do without")
        return self.quantities[name]


@dataclass(frozen=True)
class Flash:
    """What `flash` needs: esptool's name of the chip, where the firmware goes, where to get it."""

    chip: str
    offset: int
    firmware: str


@dataclass(frozen=True)
class Board:
    """A board one can buy. `measured` names the emulated core (hw/measured) that stands for it; `mpy` the architecture
    of its .mpy files, None where it does not run MicroPython.
    """

    id: str
    title: str
    profile: Profile
    measured: str
    network: str
    camera: str
    install: str
    mpy: str | None
    note: str
    flash: Flash | None


def load_quantity(where: str, entry: Any, sources: dict[str, str]) -> Quantity:
    """The quantity of one TOML table; ProfileError names what it lacks."""
    if not isinstance(entry, dict):
        raise ProfileError(
            f"{where}: a bare {reprlib.repr(entry)}; write value, unit, kind, conditions and source"
        )
    unknown = set(entry) - {"value", "unit", "kind", "conditions", "source", "low", "high", "via"}
    if unknown:
        raise ProfileError(f"{where}: unknown field {sorted(unknown)[0]}")
    for field in ("value", "unit", "kind", "conditions", "source"):
        if entry.get(field) in (None, ""):
            raise ProfileError(f"{where}: has no {field}; a number without it is not used")
        if field != "value" and not isinstance(entry[field], str):
            raise ProfileError(f"{where}: {field} is text, not {reprlib.repr(entry[field])}")
    source = sources.get(entry["source"])
    if not isinstance(source, str) or len(source.strip()) < 8:
        raise ProfileError(f"{where}: source {entry['source']!r} is not described under [sources]")
    if entry["kind"] not in KINDS:
        raise ProfileError(f"{where}: kind {entry['kind']!r}; one of {', '.join(KINDS)}")
    if entry["unit"] not in UNITS:
        raise ProfileError(f"{where}: unit {entry['unit']!r}; one of {', '.join(sorted(UNITS))}")
    if (entry["kind"] == "datasheet") != (entry.get("via") in VIAS):
        raise ProfileError(f"{where}: a datasheet figure, and no other, says via = {' or '.join(VIAS)}")
    numbers = {k: entry[k] for k in ("value", "low", "high") if k in entry}
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) < LARGEST:
            raise ProfileError(f"{where}: {name} is a number, not {reprlib.repr(number)}")
    if ("low" in numbers) != ("high" in numbers):
        raise ProfileError(f"{where}: low and high go together")
    if "low" in numbers and not numbers["low"] <= numbers["value"] <= numbers["high"]:
        raise ProfileError(f"{where}: value lies outside low..high")
    return Quantity(
        numbers["value"], entry["unit"], entry["kind"], entry["conditions"], source,
        numbers.get("low"), numbers.get("high"), entry.get("via"),
    )  # fmt: skip


def _read(path: Path, what: str) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.toml")))
        raise ProfileError(f"no {what} {path.stem!r}; known: {known}") from None
    except (ValueError, RecursionError) as error:  # tomllib's own, text that is no UTF-8, numbers too long
        raise ProfileError(f"{path.name}: not TOML: {error}") from None


def _check_id(name: str) -> str:
    if len(name) > 64 or not _ID.fullmatch(name):
        raise ProfileError(f"{name!r} is not a name of a board or profile (at most 64 of a-z, 0-9, -)")
    return name


def _check_fields(raw: dict[str, Any], path: Path, *texts: str, **others: type) -> None:
    for field, kind in {**dict.fromkeys(texts, str), **others}.items():
        if not raw.get(field):
            raise ProfileError(f"{path.name}: has no {field}")
        if not isinstance(raw[field], kind):
            raise ProfileError(f"{path.name}: {field} is {'text' if kind is str else 'a table'}")


def load_profile(name: str, folder: Path = HERE / "profiles") -> Profile:
    """The profile `name`, every number checked."""
    path = folder / f"{_check_id(name)}.toml"
    raw = _read(path, "profile")
    _check_fields(raw, path, "title", "cpu", sources=dict)
    sources = raw["sources"]
    quantities: dict[str, Quantity] = {}
    for group, rows in raw.items():
        if group in ("title", "cpu", "sources"):
            continue
        if not isinstance(rows, dict):
            raise ProfileError(f"{path.name}: {group}: belongs into a table such as [power]")
        for key, entry in rows.items():
            quantities[f"{group}.{key}"] = load_quantity(f"{path.name}: {group}.{key}", entry, sources)
    if not quantities:
        raise ProfileError(f"{path.name}: holds no number")
    return Profile(name, raw["title"], raw["cpu"], quantities)


def load_board(name: str, folder: Path = HERE / "boards") -> Board:
    """The board `name` with its profile."""
    path = folder / f"{_check_id(name)}.toml"
    raw = _read(path, "board")
    _check_fields(raw, path, "title", "profile", "measured", "network", "camera", "install")
    for field in ("mpy", "note"):
        if not isinstance(raw.get(field, ""), str):
            raise ProfileError(f"{path.name}: {field} is text")
    if raw["install"] not in INSTALLS:
        raise ProfileError(f"{path.name}: install is one of {', '.join(INSTALLS)}")
    if raw["install"] == "micropython" and not raw.get("mpy"):
        raise ProfileError(f"{path.name}: a MicroPython board needs mpy, the -march of mpy-cross")
    flash = None
    if "flash" in raw:
        try:
            flash = Flash(raw["flash"]["chip"], int(raw["flash"]["offset"]), raw["flash"]["firmware"])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise ProfileError(f"{path.name}: [flash] needs chip, offset and firmware") from None
    return Board(
        name, raw["title"], load_profile(raw["profile"]), raw["measured"], raw["network"], raw["camera"],
        raw["install"], raw.get("mpy"), raw.get("note", ""), flash,
    )  # fmt: skip


def boards() -> list[Board]:
    """Every board, by name."""
    return [load_board(p.stem) for p in sorted((HERE / "boards").glob("*.toml"))]


def as_json(board: Board) -> dict[str, Any]:
    """A board for `hw list --json`: its own fields, and `quantities` of its profile with all they carry."""
    out = asdict(board)
    profile = out.pop("profile")
    return out | {"profile": profile["id"], "cpu": profile["cpu"], "quantities": profile["quantities"]}
