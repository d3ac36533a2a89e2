"""The services' stores: one interface, on SQLite (a file, the default) or PostgreSQL (several machines).

Queries are the SQL that both speak: `?` for values, `ON CONFLICT`, the types TEXT, BYTEA, BIGINT and DOUBLE
PRECISION. A commit survives power loss on both. Whatever the database itself refuses (disk full, server away, file
damaged) is a `StoreFault`, and its transaction left nothing.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from blindsight.errors import OneLine

Row = Mapping[str, Any]
Place = Path | str  # a file, or a `postgresql://` address


class StoreFault(OneLine):
    """The store cannot do that now; one line of the database's own."""


class Cursor(Protocol):
    """What a statement gives."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class Transaction(Protocol):
    """Inside `Database.transaction()`."""

    def execute(self, query: str, values: Sequence[object] = (), /) -> Cursor: ...
    def executemany(self, query: str, values: Sequence[Sequence[object]], /) -> object: ...


class Database(Protocol):
    """One connection. Not thread-safe: every thread opens its own."""

    skip_locked: (
        str  # ends a SELECT whose rows this transaction alone shall have; rows others have are left out
    )

    def transaction(self, lock: str = "") -> contextlib.AbstractContextManager[Transaction]:
        """Everything in the block commits together, durably, or not at all. Blocks that name the same `lock`
        run one after the other.
        """
        ...

    def rows(self, query: str, *values: object) -> list[Row]:
        """All rows of a query."""
        ...

    def row(self, query: str, *values: object) -> Row | None:
        """The first row of a query, or None."""
        ...

    def now(self) -> float:
        """Seconds since 1970, the same clock for all who share the store."""
        ...

    def scrub(self) -> None:
        """Takes what was deleted out of the files as well, as far as the database can."""
        ...

    def close(self) -> None:
        """Closes the connection."""
        ...


def open_database(place: Place, schema: str) -> Database:
    """A connection to the store at `place`, made where it is new; raises `StoreFault`."""
    if isinstance(place, Path):
        return SqliteDatabase(place, schema)
    from blindsight.service.postgres import PostgresDatabase  # its driver is an extra

    return PostgresDatabase(place, schema)


class SqliteDatabase:
    """A file with mode 0600: write-ahead log, fsync at every commit, one writer at a time."""

    skip_locked = ""  # a transaction has the whole file

    def __init__(self, path: Path, schema: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Never open the file beside SQLite once it exists: closing any descriptor of it drops SQLite's own locks.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with _faults():
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute(
                "PRAGMA synchronous = FULL"
            )  # a commit survives power loss, not only the process
            self._db.execute("PRAGMA cache_size = -512")  # KiB; the system caches the file too
            self._db.execute("PRAGMA secure_delete = ON")  # deleted ciphertexts are overwritten
            with self.transaction() as db:
                for statement in schema.split(";"):
                    if statement.strip():
                        db.execute(statement)

    @contextlib.contextmanager
    def transaction(self, lock: str = "") -> Iterator[Transaction]:
        """See `Database`; the file's one writer is every lock."""
        with _faults():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def rows(self, query: str, *values: object) -> list[Row]:
        """All rows of a query."""
        with _faults():
            return self._db.execute(query, values).fetchall()

    def row(self, query: str, *values: object) -> Row | None:
        """The first row of a query, or None."""
        with _faults():
            out: Row | None = self._db.execute(query, values).fetchone()
            return out

    def now(self) -> float:
        """This machine's clock."""
        return time.time()

    def scrub(self) -> None:
        """Moves the write-ahead log into the file and empties it, where no reader is in the way."""
        with _faults():
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Closes the connection."""
        self._db.close()


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreFault(str(error)) from error
