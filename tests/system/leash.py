"""Processes that end with the test that started them: also when it fails, and when pytest itself is killed."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

_SETPRIV = shutil.which(
    "setpriv"
)  # of util-linux; where there is none, only a killed pytest leaves processes behind


def leashed(command: Sequence[str]) -> list[str]:
    """The command as one that the kernel ends with the thread that started it. Its process id and signals are its own."""
    return [*([_SETPRIV, "--pdeathsig", "KILL", "--"] if _SETPRIV else []), *command]


@contextlib.contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A started process, killed at the end of the block if it is still there (`Popen` alone would wait for it)."""
    with subprocess.Popen(leashed(command), **options) as process:
        try:
            yield process
        finally:
            process.kill()
