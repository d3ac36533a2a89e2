"""The stores on PostgreSQL, for services that share one from several machines. Needs `pip install
'blindsight[postgres]'`.

Adversary: whoever is on the network to the database: an address that is not this machine is reached with
`sslmode=verify-full` or not at all. The database's operator sees what a thief of the SQLite file would: it
belongs to the trust domain of the service whose store it is, and deleted rows stay in its files until they are
vacuumed and in its write-ahead log until that is recycled.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from blindsight.service.database import Cursor, Row, StoreFault, Transaction

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict
    from psycopg.rows import dict_row
except ImportError:  # pragma: no cover - the driver is an extra
    psycopg = None  # type: ignore[assignment]

CONNECT_S = 10
HERE = ("", "127.0.0.1", "localhost", "::1")


def check_address(address: str) -> str:
    """`address` itself if it may be used, else `StoreFault`: postgresql://, TLS unless it is this machine."""
    if not address.startswith(("postgresql://", "postgres://")):
        raise StoreFault(
            f"{address.split('@')[-1]}: a store is a postgresql:// address, or a file by default"
        )
    if psycopg is None:
        raise StoreFault("a postgresql:// store needs the driver: pip install 'blindsight[postgres]'")
    try:
        said = _environment() | conninfo_to_dict(address)
    except psycopg.Error:  # whose message repeats what it could not read, perhaps the password
        raise StoreFault(
            "the store's address cannot be read: postgresql://USER:PASSWORD@HOST/DATABASE, with %XX for what is "
            "special in a name or password"
        ) from None
    if "service" in said:
        raise StoreFault(
            "the store's address is written out here, not in a service file (service, PGSERVICE)"
        )
    hosts = [*str(said.get("host", "")).split(","), *str(said.get("hostaddr", "")).split(",")]
    far = [h for h in hosts if h not in HERE and not h.startswith("/")]
    if far and said.get("sslmode") != "verify-full":
        raise StoreFault(
            f"the store on {far[0]} is reached over TLS only: add ?sslmode=verify-full&sslrootcert=FILE"
        )
    return address


def address_name(address: str) -> str:
    """Host and database of an address that was checked."""
    said = _environment() | conninfo_to_dict(address)
    host = said.get("host") or said.get("hostaddr") or "localhost"
    return f"postgresql://{host}/{said.get('dbname') or said.get('user') or ''}"


def _environment() -> dict[str, str]:
    """What the driver takes from PGHOST and the like where the address does not say it."""
    found = psycopg.pq.Conninfo.get_defaults()
    return {o.keyword.decode(): o.val.decode() for o in found if o.val is not None}


class PostgresDatabase:
    """See `Database`. Transactions are READ COMMITTED; what must not interleave names a lock (an advisory lock
    of the transaction) or takes its rows with `skip_locked`. A lost connection is made anew at the next call.
    """

    skip_locked = " FOR UPDATE SKIP LOCKED"

    def __init__(self, address: str, schema: str) -> None:
        self._address = check_address(address)
        self._db: psycopg.Connection[dict[str, Any]] | None = None
        self._tables = [line.split()[5] for line in schema.split(";") if "CREATE TABLE" in line]
        with self.transaction("schema") as db:  # CREATE IF NOT EXISTS alone races with another process
            for statement in schema.replace("WITHOUT ROWID", "").split(";"):
                if statement.strip():
                    db.execute(statement)

    @contextlib.contextmanager
    def transaction(self, lock: str = "") -> Iterator[Transaction]:
        """See `Database`."""
        with self._faults():
            connection = self._connection()
            with connection.transaction():
                db = _Statements(connection)
                if lock:
                    db.execute("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", (lock,))
                yield db

    def rows(self, query: str, *values: object) -> list[Row]:
        """All rows of a query."""
        with self._faults():
            return _Statements(self._connection()).execute(query, values).fetchall()

    def row(self, query: str, *values: object) -> Row | None:
        """The first row of a query, or None."""
        with self._faults():
            out: Row | None = _Statements(self._connection()).execute(query, values).fetchone()
            return out

    def now(self) -> float:
        """The server's clock."""
        row = self.row("SELECT extract(epoch FROM clock_timestamp())::double precision AS t")
        assert row is not None
        return float(row["t"])

    def scrub(self) -> None:
        """Vacuums the tables: their dead rows' space is free to be written over."""
        with self._faults():
            for table in self._tables:
                self._connection().execute(f"VACUUM {table}")

    def close(self) -> None:
        """Closes the connection."""
        if self._db is not None:
            self._db.close()

    def _connection(self) -> psycopg.Connection[dict[str, Any]]:
        if self._db is None or self._db.closed:
            self._db = psycopg.connect(
                self._address, autocommit=True, row_factory=dict_row, connect_timeout=CONNECT_S,
                application_name="blindsight", keepalives_idle=10, keepalives_interval=5, keepalives_count=3,
                options="-c synchronous_commit=on -c idle_in_transaction_session_timeout=60000 -c statement_timeout=60000",
            )  # fmt: skip
        return self._db

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise StoreFault(str(error)) from error


class _Statements:
    """`?` to the driver's own mark."""

    def __init__(self, connection: psycopg.Connection[dict[str, Any]]) -> None:
        self._connection = connection

    def execute(self, query: str, values: Sequence[object] = (), /) -> Cursor:
        return self._connection.execute(query.replace("?", "%s"), values)

    def executemany(self, query: str, values: Sequence[Sequence[object]], /) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(query.replace("?", "%s"), values)
