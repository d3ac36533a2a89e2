#!/usr/bin/env python3
"""`make lock`: requirements.lock, every package of every extra with version and hashes, from pyproject.toml, and
requirements-server.lock, the part of it that the image of the servers takes.

Torch is left out: its builds differ by machine (`make dev` pins its version). Nothing in the files names a package index.
`--check` only tells whether they still hold what pyproject.toml asks for.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
SERVER_LOCK = ROOT / "requirements-server.lock"
SERVER_EXTRAS = ("postgres",)
LEFT_OUT = {"torch"}
HEADER = """\
# Every package of every extra with the hashes of its files; Python 3.11 on Linux, x86-64. Made by `make lock`.
# Torch is left out: its builds differ by machine; pyproject.toml names its version.
# pip install --require-hashes -r requirements.lock
"""
SERVER_HEADER = """\
# What deploy/docker/Dockerfile installs and builds with; Python 3.11. The part of requirements.lock; made by `make lock`.
"""


def name(requirement: str) -> str:
    """The normalised name of a requirement."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def wanted(*extras: str) -> list[str]:
    """What pyproject.toml asks for, build tools too, with these extras or all."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    optional = project["project"]["optional-dependencies"]
    for extra in extras or optional:
        lines += [line for line in optional[extra] if not line.startswith("blindsight[")]
    return sorted({line for line in lines if name(line) not in LEFT_OUT})


def locked(text: str) -> dict[str, str]:
    """name -> version; ValueError where a package has no hash, or the file names an index."""
    found = {}
    for block in re.split(r"\n(?=[A-Za-z0-9])", text):
        match = re.match(r"([A-Za-z0-9._-]+)==(\S+)", block)
        if match is None:
            continue
        if "--hash=sha256:" not in block:
            raise ValueError(f"{match[1]} has no hash")
        found[name(match[1])] = match[2]
    if re.search(r"https?://|--(extra-)?index-url|--find-links|--trusted-host", text):
        raise ValueError("the lock file names an index")
    return found


def compile_lock(lines: list[str], path: Path, header: str, *options: str) -> None:
    """Resolves the requirements into a lock file."""
    tool = Path(sys.executable).with_name("uv")
    command = [
        str(tool), "pip", "compile", "-", "--quiet", "--generate-hashes", "--no-header", "--no-annotate",
        "--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28", "--output-file", str(path), *options,
    ]  # fmt: skip
    path.unlink(missing_ok=True)  # else its versions are kept
    subprocess.run(command, input="\n".join(lines).encode(), check=True)
    path.write_text(header + path.read_text())


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        compile_lock(wanted(), LOCK, HEADER)
        compile_lock(wanted(*SERVER_EXTRAS), SERVER_LOCK, SERVER_HEADER, "--constraints", str(LOCK))
    for path, lines in ((LOCK, wanted()), (SERVER_LOCK, wanted(*SERVER_EXTRAS))):
        have = locked(path.read_text())
        missing = sorted({name(line) for line in lines} - set(have))
        if missing:
            sys.exit(f"{path.name} lacks {', '.join(missing)}: run `make lock`")
        print(f"{path.name}: {len(have)} packages, all with hashes")


if __name__ == "__main__":
    main()
