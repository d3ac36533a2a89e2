"""Pictures and blocks in one SQLite file: what the cloud promises is here before the promise leaves the
process.

States of a picture: `assembling` -> `ready` (whole and checked; the receipt follows this commit) -> `shared`
(the cloud's share of an attempt is durable) -> `answered` | `failed`. `cloud.jobs` moves it from `ready` on.
Nothing here is secret from the cloud, but ciphertexts, salt and share must not leave it: the file is 0600,
deleted bytes are overwritten, and ciphertexts go with the answer's commit.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from sqlite3 import Connection, Row

from blindsight.service.database import Database
from blindsight.wire import keys

SCHEMA = """
CREATE TABLE IF NOT EXISTS pictures (
    device TEXT NOT NULL, image BLOB NOT NULL, state TEXT NOT NULL, shard TEXT NOT NULL,
    manifest BLOB, manifest_hash BLOB, salt BLOB, model TEXT, plan_hash BLOB,
    attempt INTEGER NOT NULL DEFAULT 0, owner TEXT,
    lease_until REAL NOT NULL DEFAULT 0, not_before REAL NOT NULL DEFAULT 0,
    share_attempt INTEGER, share BLOB, reveal INTEGER, sealed BLOB, code INTEGER, reason TEXT,
    created REAL NOT NULL, accepted REAL, finished REAL,
    receipt_due INTEGER NOT NULL DEFAULT 0, answer_due INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (device, image));
CREATE INDEX IF NOT EXISTS jobs ON pictures (accepted) WHERE state IN ('ready', 'shared');
CREATE INDEX IF NOT EXISTS due ON pictures (accepted) WHERE receipt_due OR answer_due;
CREATE INDEX IF NOT EXISTS waiting ON pictures (device) WHERE state = 'assembling';
CREATE TABLE IF NOT EXISTS blocks (
    device TEXT NOT NULL, image BLOB NOT NULL, block INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (device, image, block))
"""
RESEND_PICTURES = 64


def open_database(path: Path) -> Database:
    """A connection to the cloud's file; every thread opens its own."""
    return Database(path, SCHEMA)


class Pictures:
    """Assembling pictures, and what is due to devices. Times are seconds since the epoch.

    Methods that take a `Connection` belong inside `transaction()`, so that many messages share one commit.
    """

    def __init__(self, path: Path) -> None:
        self.database = open_database(path)

    def close(self) -> None:
        """Closes the connection."""
        self.database.close()

    def get(self, device: str, image: bytes) -> Row | None:
        """The picture's row."""
        return self.database.row("SELECT * FROM pictures WHERE device = ? AND image = ?", device, image)

    def blocks(self, device: str, image: bytes) -> list[tuple[int, bytes]]:
        """(number, bytes) of the blocks at hand, in order."""
        query = "SELECT block, data FROM blocks WHERE device = ? AND image = ? ORDER BY block"
        return [(r["block"], r["data"]) for r in self.database.rows(query, device, image)]

    def count_blocks(self, device: str, image: bytes) -> int:
        """How many blocks are at hand."""
        query = "SELECT count(*) AS n FROM blocks WHERE device = ? AND image = ?"
        row = self.database.row(query, device, image)
        return row["n"] if row else 0

    def waiting(self, device: str) -> tuple[int, int]:
        """(pictures, bytes of blocks) of a device that are not accepted yet."""
        row = self.database.row(
            "SELECT count(DISTINCT p.image) AS pictures, coalesce(sum(length(b.data)), 0) AS size"
            " FROM pictures p LEFT JOIN blocks b USING (device, image)"
            " WHERE p.device = ? AND p.state = 'assembling'",
            device,
        )
        return (row["pictures"], row["size"]) if row else (0, 0)

    def put_block(self, db: Connection, device: str, image: bytes, block: int, data: bytes) -> None:
        """Stores (or replaces) a block of a picture that is not accepted yet."""
        self._begin(db, device, image)
        db.execute("INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?)", (device, image, block, data))

    def put_manifest(
        self,
        db: Connection,
        device: str,
        image: bytes,
        data: bytes,
        digest: bytes,
        salt: bytes,
        plan: tuple[str, bytes],
    ) -> None:
        """Stores (or replaces) the manifest of a picture that is not accepted yet; `plan`: model name and
        plan hash.
        """
        self._begin(db, device, image)
        db.execute(
            "UPDATE pictures SET manifest = ?, manifest_hash = ?, salt = ?, model = ?, plan_hash = ?"
            " WHERE device = ? AND image = ? AND state = 'assembling'",
            (data, digest, salt, *plan, device, image),
        )

    def _begin(self, db: Connection, device: str, image: bytes) -> None:
        db.execute(
            "INSERT OR IGNORE INTO pictures (device, image, state, shard, created)"
            " VALUES (?, ?, 'assembling', ?, ?)",
            (device, image, keys.shard(device), time.time()),
        )

    def drop_blocks(self, db: Connection, device: str, image: bytes, numbers: Iterable[int]) -> None:
        """Deletes blocks that do not fit the manifest."""
        query = "DELETE FROM blocks WHERE device = ? AND image = ? AND block = ?"
        db.executemany(query, [(device, image, n) for n in numbers])

    def accept(self, db: Connection, device: str, image: bytes) -> None:
        """The picture is whole: it becomes a job, and a receipt is due."""
        db.execute(
            "UPDATE pictures SET state = 'ready', accepted = ?, receipt_due = 1"
            " WHERE device = ? AND image = ? AND state = 'assembling'",
            (time.time(), device, image),
        )

    def discard(self, db: Connection, device: str, image: bytes) -> None:
        """Forgets a picture that was never accepted."""
        row = (device, image)
        db.execute("DELETE FROM blocks WHERE device = ? AND image = ?", row)
        db.execute("DELETE FROM pictures WHERE device = ? AND image = ? AND state = 'assembling'", row)

    def due(self, shards: str, limit: int = 64) -> list[Row]:
        """Pictures of these shards with a receipt or an answer to publish, oldest first."""
        marks = ",".join("?" * len(shards))
        return self.database.rows(
            f"SELECT * FROM pictures WHERE (receipt_due OR answer_due) AND shard IN ({marks})"
            " ORDER BY accepted LIMIT ?",
            *shards,
            limit,
        )

    def published(self, done: list[tuple[str, bytes, str]]) -> None:
        """The broker has these: (device, image, `receipt` or `answer`)."""
        with self.database.transaction() as db:
            for device, image, what in done:
                column = {"receipt": "receipt_due", "answer": "answer_due"}[what]
                db.execute(
                    f"UPDATE pictures SET {column} = 0 WHERE device = ? AND image = ?", (device, image)
                )

    def ask_again(self, db: Connection, device: str, image: bytes | None, since: float) -> None:
        """Makes receipt and answer due once more: of this image, or of the latest that wait or finished
        after `since`.
        """
        again = (
            "UPDATE pictures SET receipt_due = (state IN ('ready', 'shared')),"
            " answer_due = (state IN ('answered', 'failed'))"
            " WHERE device = ? AND state != 'assembling' AND "
        )
        if image is not None:
            db.execute(again + "image = ?", (device, image))
            return
        latest = (
            "SELECT image FROM pictures WHERE device = ? AND state != 'assembling'"
            " AND (finished IS NULL OR finished > ?) ORDER BY accepted DESC LIMIT ?"
        )
        db.execute(again + f"image IN ({latest})", (device, device, since, RESEND_PICTURES))

    def purge(self, assembling_before: float, finished_before: float) -> int:
        """Forgets pictures that never became whole, and old answers (their ids stay, to refuse repeats)."""
        with self.database.transaction() as db:
            query = "SELECT device, image FROM pictures WHERE state = 'assembling' AND created < ?"
            old = db.execute(query, (assembling_before,)).fetchall()
            for row in old:
                self.discard(db, row["device"], row["image"])
            db.execute(
                "UPDATE pictures SET sealed = NULL, share = NULL WHERE state = 'answered'"
                " AND finished < ? AND NOT answer_due AND share IS NOT NULL",
                (finished_before,),
            )
            return len(old)

    def counts(self) -> dict[str, int]:
        """Pictures by state."""
        rows = self.database.rows("SELECT state, count(*) AS n FROM pictures GROUP BY state")
        return {r["state"]: r["n"] for r in rows}
