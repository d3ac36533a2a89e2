"""A server that this program starts as a process of its own: told its task, listened to, ended."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from blindsight.app.party import Task


class PartyProcess:
    """One server, running `python -m MODULE`; what it says wrong is raised as `error`, one line that names the server."""

    def __init__(self, module: str, task: Task, error: type[Exception]) -> None:
        self._name, self._error = ("cloud", "helper")[task.party], error
        # As many BLAS threads as the figures are for: two parties share the machine.
        env = {**os.environ, "OMP_NUM_THREADS": str(task.threads), "OPENBLAS_NUM_THREADS": str(task.threads)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env
        )
        self.write(json.dumps(asdict(task)).encode() + b"\n")

    def write(self, data: bytes, last: bool = False) -> None:
        """To its standard input; `last` ends that. Of a process that has ended `hear` says why."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(data)
            self._process.stdin.flush()
        if last:
            self._end_input()

    def hear(self, event: str, other: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
        """Reads until the event comes; `other` gets what comes before."""
        assert self._process.stdout
        for line in self._process.stdout:
            message: dict[str, Any] = json.loads(line)
            if message["event"] == "error":
                raise self._error(f"{self._name}: {message['message']}")
            if message["event"] == event:
                return message
            if other:
                other(message)
        raise self._error(f"{self._name}: the process ended with exit code {self._process.wait()}")

    def stop(self) -> None:
        """Ends it: by the end of its input, or by force."""
        self._end_input()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()

    def _end_input(self) -> None:
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
