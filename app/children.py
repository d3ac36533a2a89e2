"""Processes that the demonstration and the tests start: servers with JSON logs, devices with JSON events.

On Linux they end with the process that started them, however it ends (SIGKILL too); elsewhere, or without setpriv of
util-linux, only one that ends in order takes its children along.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import queue
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

Events = queue.Queue[tuple[str, float, dict[str, Any]]]  # (device, monotonic time, event)


class ChildError(Exception):
    """A process ended or never came up; the message ends with its last words."""


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        return int(s.getsockname()[1])


@functools.cache
def leash() -> tuple[str, ...]:
    """The words before a command that the kernel is to kill with the thread that started it; none where it cannot."""
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    if setpriv is None:
        return ()
    words = (
        setpriv,
        "--pdeathsig",
        "KILL",
        "--",
    )  # a program of its own: no code of ours between fork and exec
    tried = subprocess.run(
        [*words, "true"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return words if tried.returncode == 0 else ()  # BusyBox has a setpriv without it


class _Starter:
    """A thread that starts processes and never ends: the kernel's signal comes when the *thread* that started one is
    gone, and callers' threads come and go.
    """

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[tuple[list[str], dict[str, Any], Future[subprocess.Popen[Any]]]]
        self._asked = queue.SimpleQueue()
        threading.Thread(target=self._work, name="starter of children", daemon=True).start()

    def _work(self) -> None:
        while True:
            command, options, answer = self._asked.get()
            try:
                answer.set_result(subprocess.Popen(command, **options))
            except BaseException as error:
                answer.set_exception(error)

    def start(self, command: list[str], options: dict[str, Any]) -> subprocess.Popen[Any]:
        """`subprocess.Popen`, there."""
        answer: Future[subprocess.Popen[Any]] = Future()
        self._asked.put((command, options, answer))
        return answer.result()


@functools.cache
def _starter(_pid: int) -> _Starter:
    """The process's own; a forked one has no thread of its parent's."""
    return _Starter()


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """`subprocess.Popen` of a process that does not outlive this one. Its process id and signals are its own."""
    if not leash():
        return subprocess.Popen(command, **options)
    return _starter(os.getpid()).start([*leash(), *command], options)


class Child:
    """A process whose output goes to a file."""

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        self.name, self.log = name, log
        # One thread a process for numpy: the servers share the machine.
        env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with open(log, "ab") as out:
            self._process = start(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self._process.kill()
        self._process.wait()

    def check(self) -> None:
        """Raises `ChildError` if the process has ended."""
        if self._process.poll() is not None:
            last = (self.log.read_text(errors="replace").strip().splitlines() or ["(it said nothing)"])[-1]
            raise ChildError(f"{self.name} ended with code {self._process.returncode}: {last[-500:]}")

    def wait_event(self, event: str, seconds: float) -> dict[str, Any]:
        """The first log line of that event."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for entry in self.events():
                if entry.get("event") == event:
                    return entry
            self.check()
            time.sleep(0.05)
        raise ChildError(f"{self.name}: no {event!r} within {seconds:g} s; its log: {self.log}")

    def wait_port(self, port: int, seconds: float = 20) -> None:
        """Until something listens on the port."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            self.check()
            if time.monotonic() > deadline:
                raise ChildError(f"{self.name} does not listen on port {port}")
            time.sleep(0.05)

    def events(self) -> list[dict[str, Any]]:
        """The JSON lines so far."""
        lines = self.log.read_text(errors="replace").split("\n")[:-1] if self.log.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{")]

    def stop(self, seconds: float = 15) -> None:
        """SIGTERM, and SIGKILL to a process that does not heed it."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


class DeviceProcess:
    """The real firmware under the MicroPython unix port; its events arrive in `events` with the time they
    came.
    """

    def __init__(
        self, micropython: str, firmware: Path, folder: Path, events: Events, heap: str = "128k"
    ) -> None:
        self.name = folder.name
        self._errors = folder / "stderr.log"
        with open(self._errors, "ab") as errors:
            self._process = start(
                [micropython, "-X", f"heapsize={heap}", str(firmware / "main.py"), str(folder)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, cwd=folder,
            )  # fmt: skip
        self._reader = threading.Thread(target=self._read, args=(events,), daemon=True)
        self._reader.start()

    def _read(self, events: Events) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):
                events.put((self.name, time.monotonic(), json.loads(line)))
        code = self._process.wait()
        last = (self._errors.read_text(errors="replace").strip().splitlines() or [""])[-1]
        events.put((self.name, time.monotonic(), {"event": "exit", "code": code, "error": last}))

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self._process.kill()
        self._finish()

    def stop(self) -> None:
        """Ends the device."""
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
        if self._process.poll() is None:
            self._process.kill()
        self._finish()

    def _finish(self) -> None:
        self._process.wait()
        self._reader.join(5)
        if self._process.stdout:
            self._process.stdout.close()
