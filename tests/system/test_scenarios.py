"""The walk-throughs of docs/scenarios: every command in them is run, and prints what is written below it.

`...` stands for anything: alone on a line for any lines, within one for any text.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "scenarios"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.S | re.M)


def commands(page: Path) -> list[tuple[str, str]]:
    """(command, what it prints)."""
    out = []
    for block in BLOCK.findall(page.read_text()):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            line, _, expected = part.partition("\n")
            out.append((line, expected.rstrip("\n")))
    return out


def pattern(expected: str) -> str:
    """The regular expression of a block."""
    out = ""
    for line in expected.split("\n"):
        if line.strip() == "...":
            out += r"(?:.*\n)*?"
        else:
            out += (
                ".*".join(
                    re.escape(p.rstrip()) if i == 0 else re.escape(p) for i, p in enumerate(line.split("..."))
                )
                + r"[ ]*\n"
            )
    return out + r"(?:.*\n)*\Z" if expected.endswith("...") else out + r"\Z"


def test_the_pattern() -> None:
    assert re.match(pattern("a\n...\nb...d\n..."), "a\nx\ny\nb c d  \nz\n")
    assert re.match(pattern("a\n...\nb"), "a\nb\n") and not re.match(pattern("a\nb"), "a\nb\nc\n")
    assert not re.match(pattern("a\n...\nb\n..."), "a\nx\nc\n")


@pytest.mark.parametrize(
    ("page", "command", "expected"),
    [
        pytest.param(p.stem, *c, id=f"{p.stem}-{c[0].removeprefix('blindsight sim ')}")
        for p in sorted(DOCS.glob("*.md"))
        for c in commands(p)
    ],
)
def test_a_command_prints_what_the_page_says(page: str, command: str, expected: str, tmp_path: Path) -> None:
    program, *args = command.split()
    assert program == "blindsight" and page in args
    beside = Path(sys.executable).with_name(program)
    environment = {**os.environ, "COLUMNS": "80", "TERM": "dumb"}
    got = subprocess.run(
        [str(beside), *args], cwd=tmp_path, capture_output=True, text=True, env=environment, timeout=500
    )
    assert got.returncode == 0, got.stderr
    assert re.match(pattern(expected), got.stdout), got.stdout


def test_every_scenario_has_its_walk_through() -> None:
    for page in ("doorbell", "parking", "wildlife"):
        told = {c.split()[2] for c, _ in commands(DOCS / f"{page}.md")}
        assert told >= {"cost", "run", "fleet", "capacity"}
