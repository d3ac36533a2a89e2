"""A real PostgreSQL server of the tests' own, in a temporary folder, started when the first test asks for it."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
from leash import leashed

from blindsight.app.children import free_port
from blindsight.service.database import Place

STORES = ("sqlite", "postgres")
USER = "blindsight"


def store_at(kind: str, file: Path) -> Place:
    """A new, empty store of that kind; `file` is SQLite's."""
    return file if kind == "sqlite" else server().database()


def _binary(name: str) -> str:
    places = [str(p) for p in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    found = shutil.which(name, path=os.pathsep.join([*places, os.environ.get("PATH", "")]))
    assert found, f"install postgresql (make dev does): {name} is missing"
    return found


@functools.cache
def server() -> Server:
    """The one server of this test run."""
    started = Server()
    atexit.register(started.close)
    return started


class Server:
    """`stop` and `start` are a restart of the server as its clients see it."""

    def __init__(self) -> None:
        # The server refuses to run as root, and then needs a folder that its own user reaches.
        self._user = "postgres" if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="blindsight-pg-"))
        if self._user:
            shutil.chown(self.folder, self._user)
        self.port = free_port()
        self._databases = 0
        command = [_binary("initdb"), "-D", str(self.folder / "data"), "-U", USER, "-A", "trust", "--no-sync"]
        subprocess.run(
            [*command, "-E", "UTF8", "--locale=C"],
            check=True,
            capture_output=True,
            user=self._user,
            cwd="/tmp",
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> str:
        """Of the server's own database."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "fsync": "off",  # no power is cut in the tests
        }
        options = [x for k, v in settings.items() for x in ("-c", f"{k}={v}")]
        with open(self.folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                leashed([_binary("postgres"), "-D", str(self.folder / "data"), *map(str, options)]),
                stdout=log, stderr=log, user=self._user, cwd="/tmp",
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while True:
            with (
                contextlib.suppress(psycopg.OperationalError),
                psycopg.connect(self.address, connect_timeout=2),
            ):
                return
            assert time.monotonic() < deadline, (self.folder / "server.log").read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends it at once, as a crash does: clients are cut off, what was committed comes back."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(20)
            self._process = None

    def database(self) -> str:
        """The address of a new, empty database."""
        self._databases += 1
        name = f"t{self._databases}"
        with psycopg.connect(self.address, autocommit=True) as db:
            db.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"

    def close(self) -> None:
        """Ends it and removes its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
