"""Board files: twelve boards, and no number without a source gets in."""

import json
import tomllib
from pathlib import Path

import pytest

from blindsight.hw import profiles

TWELVE = {
    "esp32", "esp32-s3-sense", "esp32-c3", "esp32-c6", "esp32-cam", "pico-w", "pico-2-w", "nrf52840",
    "pi-zero-2w", "pi-3b-plus", "pi-4b", "pi-5",
}  # fmt: skip
GOOD = {
    "value": 8, "unit": "uA", "kind": "datasheet", "via": "pdf", "conditions": "25 C", "source": "sheet"
}  # fmt: skip
SOURCES = {"sheet": "the manufacturer's datasheet"}


def test_the_twelve_boards_load() -> None:
    boards = {b.id: b for b in profiles.boards()}
    assert set(boards) == TWELVE
    measured = {p.stem for p in (profiles.HERE / "measured").glob("*.json")}
    for board in boards.values():
        assert board.measured in measured
        assert "compute.clock" in board.profile.quantities
        assert (board.flash is not None) == board.id.startswith("esp32")
    assert boards["esp32-s3-sense"].profile["power.deep_sleep"].value == 8
    assert boards["esp32-cam"].profile == boards["esp32"].profile


def test_every_described_source_is_used() -> None:
    for path in (profiles.HERE / "profiles").glob("*.toml"):
        raw = tomllib.loads(path.read_text())
        used = {
            e["source"]
            for g, rows in raw.items()
            if g not in ("title", "cpu", "sources")
            for e in rows.values()
        }
        assert used == set(raw["sources"]), path.name


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"source": None}, "has no source"),
        ({"source": ""}, "has no source"),
        ({"source": "elsewhere"}, "not described"),
        ({"unit": None}, "has no unit"),
        ({"conditions": None}, "has no conditions"),
        ({"unit": "furlong"}, "unit 'furlong'"),
        ({"kind": "guess"}, "kind 'guess'"),
        ({"kind": None}, "has no kind"),
        ({"value": "8"}, "is a number"),
        ({"value": float("nan")}, "is a number"),
        ({"value": True}, "is a number"),
        ({"via": None}, "via"),
        ({"kind": "measured"}, "via"),
        ({"low": 1}, "go together"),
        ({"low": 9, "high": 10}, "outside"),
        ({"sauce": "x"}, "unknown field"),
    ],
)
def test_an_unsourced_number_is_refused(change: dict[str, object], complaint: str) -> None:
    entry = {k: v for k, v in (GOOD | change).items() if v is not None}
    with pytest.raises(profiles.ProfileError, match=complaint):
        profiles.load_quantity("x.toml: power.x", entry, SOURCES)
    profiles.load_quantity("x.toml: power.x", GOOD, SOURCES)


def test_a_file_with_a_bare_number_is_refused(tmp_path: Path) -> None:
    text = 'title = "x"\ncpu = "y"\n[sources]\ns = "something long"\n[power]\nsleep = 5\n'
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(profiles.ProfileError, match=r"bad.toml: power.sleep: a bare 5"):
        profiles.load_profile("bad", tmp_path)
    with pytest.raises(profiles.ProfileError, match="known: bad"):
        profiles.load_profile("absent", tmp_path)
    for name in ("../bad", "", "A"):
        with pytest.raises(profiles.ProfileError):
            profiles.load_profile(name, tmp_path)


def test_a_planted_number_without_source_stops_the_loader(tmp_path: Path) -> None:
    """One line of a shipped profile changed: the whole file is refused, by name."""
    text = (profiles.HERE / "profiles" / "esp32-s3.toml").read_text()
    line = next(x for x in text.splitlines() if x.startswith("light_sleep"))
    for field in ("source", "conditions", "kind", "unit"):
        planted = "\n".join(
            x if x != line else line.replace(f"{field} = ", f"{field}x = ") for x in text.splitlines()
        )
        (tmp_path / "esp32-s3.toml").write_text(planted)
        with pytest.raises(profiles.ProfileError, match=r"esp32-s3.toml: power.light_sleep"):
            profiles.load_profile("esp32-s3", tmp_path)


def test_measured_files_fit_the_design() -> None:
    for path in (profiles.HERE / "measured").glob("*.json"):
        got = json.loads(path.read_text())
        assert got["target"] == path.stem and set(got["modes"]) == {"rlwe", "rlwe-sk", "aes"}
