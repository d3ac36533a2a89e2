"""The documentation runs: ```sh blocks are executed, page by page, in an empty folder; every other `blindsight` line
names commands and options that exist; links of the pages outside the site lead somewhere.

A block with `title="FILE"` is a file of that folder. What needs a board, a second machine or a browser stands in
```console blocks: the tests of those parts run the same commands against stand-ins.
"""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.main

from blindsight.app.cli import build

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "device_fw").rglob("*.md")),
]
BLOCK = re.compile(r"^( *)```(\w*)(?: title=\"([^\"]+)\")?[^\n]*\n(.*?)^\1```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    language: str
    title: str | None
    text: str


def blocks(page: Path) -> list[Block]:
    """Fenced blocks of a page, in order, without their indentation."""
    found = []
    for indent, language, title, text in BLOCK.findall(page.read_text()):
        lines = [line.removeprefix(indent) for line in text.splitlines()]
        found.append(Block(language, title or None, "\n".join(lines) + "\n"))
    return found


def shown(page: Path) -> list[str]:
    """Every `blindsight` command a page shows, fenced or indented, continuation lines joined."""
    text = page.read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    for block in blocks(page):
        lines += [line.strip() for line in block.text.replace("\\\n", " ").splitlines()]
    commands = (line.removeprefix(".venv/bin/") for line in lines)
    return sorted(
        {c for c in commands if c.startswith("blindsight ") and "COMMAND" not in c and "|" not in c}
    )


def unknown(command: str) -> str | None:
    """What of a command line does not exist, or None."""
    words = shlex.split(command, comments=True)[1:]
    node = typer.main.get_command(build())
    while words and hasattr(node, "commands"):
        if words[0].startswith("-"):
            break
        if words[0] not in node.commands:
            return f"no command {words[0]!r}"
        node, words = node.commands[words[0]], words[1:]
    options = {o for p in node.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
    for word in words:
        if word.startswith("--") and word.split("=")[0] not in options:
            return f"no option {word}"
    return None


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [p for p in PAGES if shown(p)], ids=name)
def test_shown_commands_exist(page: Path) -> None:
    wrong = {command: problem for command in shown(page) if (problem := unknown(command))}
    assert not wrong, wrong


def test_the_check_of_commands_can_fail() -> None:
    assert unknown("blindsight infer --model mnist --no-such 3") == "no option --no-such"
    assert unknown("blindsight hw fly") == "no command 'fly'"
    assert unknown("blindsight infer --model mnist  # a comment --x") is None


@pytest.mark.parametrize("page", [p for p in PAGES if any(b.language == "sh" for b in blocks(p))], ids=name)
def test_commands_run(page: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "120",
        "XDG_CACHE_HOME": str(tmp_path / ".cache"),
    }
    for block in blocks(page):
        if block.title:
            (tmp_path / block.title).write_text(block.text)
        if block.language != "sh":
            continue
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.text],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert done.returncode == 0, f"{block.text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.mark.parametrize("page", [p for p in PAGES if not p.is_relative_to(ROOT / "docs")], ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing, missing
