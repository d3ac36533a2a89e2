"""SQLite as both services use it: write-ahead log, fsync at every commit, one connection a thread."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path


class Database:
    """One connection to the database at `path`, made with mode 0600 where it is new. Not thread-safe."""

    def __init__(self, path: Path, schema: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Never open the file beside SQLite once it exists: closing any descriptor of it drops SQLite's own locks.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")  # a commit survives power loss, not only the process
        self._db.execute("PRAGMA secure_delete = ON")  # deleted ciphertexts are overwritten
        with self.transaction():
            for statement in schema.split(";"):
                if statement.strip():
                    self._db.execute(statement)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything in the block commits together, durably, or not at all; one writer at a time."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """All rows of a query."""
        return self._db.execute(query, values).fetchall()

    def row(self, query: str, *values: object) -> sqlite3.Row | None:
        """The first row of a query, or None."""
        out: sqlite3.Row | None = self._db.execute(query, values).fetchone()
        return out

    def checkpoint(self) -> None:
        """Moves the write-ahead log into the file and empties it, where no reader is in the way."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Closes the connection."""
        self._db.close()
