"""Processes that end with the test that started them: also when it fails, and when pytest itself is killed."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

from blindsight.app.children import leash


def leashed(command: Sequence[str]) -> list[str]:
    """The command as one that the kernel ends with the thread that started it. Its process id and signals are its own."""
    return [*leash(), *command]


@contextlib.contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A started process, killed at the end of the block if it is still there (`Popen` alone would wait for it)."""
    with subprocess.Popen(leashed(command), **options) as process:
        try:
            yield process
        finally:
            process.kill()
