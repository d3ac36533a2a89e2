"""What every target needs: `target` registers one, and checks that errors are one short line."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from blindsight.errors import OneLine

ROOT = Path(__file__).parents[3]
Run = Callable[[bytes], object]
Seeds = Callable[[], list[bytes]]
TARGETS: dict[str, tuple[Run, Seeds]] = {}
DEVICE, IMAGE = "cam-1", bytes(range(16))


class Finding(AssertionError):
    """What a parser must not do."""


def one_line(error: Exception) -> None:
    """A finding unless the error is one short line of printable characters: it goes into logs and onto terminals."""
    text = str(error)
    if not text.isprintable() or len(text) > OneLine.LIMIT:
        raise Finding(f"an error that is not one line: {text[:200]!r}") from error


def target(seeds: Seeds, *expected: type[Exception]) -> Callable[[Run], Run]:
    """Registers a function under its name; `expected` are the parser's documented errors."""

    def register(parse: Run) -> Run:
        def run(data: bytes) -> None:
            try:
                parse(data)
            except expected as error:
                one_line(error)

        TARGETS[parse.__name__] = (run, seeds)
        return parse

    return register


FOLDER = tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)


def as_file(data: bytes, name: str, mode: int = 0o600) -> Path:
    """The input as a file, in memory where the machine has such a folder."""
    path = Path(FOLDER.name) / name
    path.write_bytes(data)
    path.chmod(mode)
    return path


NESTED = [b"[" * 6000, b'{"a":' * 4000, b"a = " + b"[" * 6000]  # JSON and TOML whose depth is the attack
