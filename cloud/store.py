"""Pictures and blocks in the store (SQLite or PostgreSQL): what the cloud promises is here before the promise
leaves the process.

States of a picture: `assembling` -> `ready` (whole and checked; the receipt follows this commit) -> `shared`
(the cloud's share of an attempt is durable) -> `answered` | `failed`. `cloud.jobs` moves it from `ready` on.
Nothing here is secret from the cloud, but ciphertexts, salt and share must not leave it: ciphertexts go with the
answer's commit, and what was deleted is scrubbed from the files (`service.database`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from blindsight.service.database import Database, Place, Row, Transaction, open_database
from blindsight.wire import keys

SCHEMA = """
CREATE TABLE IF NOT EXISTS pictures (
    device TEXT NOT NULL, image BYTEA NOT NULL, state TEXT NOT NULL, shard TEXT NOT NULL,
    manifest BYTEA, manifest_hash BYTEA, salt BYTEA, model TEXT, plan_hash BYTEA,
    attempt BIGINT NOT NULL DEFAULT 0, owner TEXT,
    lease_until DOUBLE PRECISION NOT NULL DEFAULT 0, not_before DOUBLE PRECISION NOT NULL DEFAULT 0,
    share_attempt BIGINT, share BYTEA, reveal BIGINT, sealed BYTEA, code BIGINT, reason TEXT,
    created DOUBLE PRECISION NOT NULL, accepted DOUBLE PRECISION, finished DOUBLE PRECISION,
    receipt_due BIGINT NOT NULL DEFAULT 0, answer_due BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (device, image));
CREATE INDEX IF NOT EXISTS jobs ON pictures (accepted) WHERE state IN ('ready', 'shared');
CREATE INDEX IF NOT EXISTS owned ON pictures (owner) WHERE owner IS NOT NULL;
CREATE INDEX IF NOT EXISTS due ON pictures (accepted) WHERE receipt_due + answer_due > 0;
CREATE INDEX IF NOT EXISTS waiting ON pictures (device) WHERE state = 'assembling';
CREATE INDEX IF NOT EXISTS queued ON pictures (device) WHERE state IN ('ready', 'shared');
CREATE INDEX IF NOT EXISTS kept ON pictures (finished)
    WHERE share IS NOT NULL AND state = 'answered' AND answer_due = 0;
CREATE INDEX IF NOT EXISTS ended ON pictures (finished)
    WHERE state IN ('answered', 'failed') AND answer_due = 0;
CREATE TABLE IF NOT EXISTS blocks (
    device TEXT NOT NULL, image BYTEA NOT NULL, block BIGINT NOT NULL, data BYTEA NOT NULL,
    PRIMARY KEY (device, image, block));
CREATE TABLE IF NOT EXISTS quarantine (
    topic TEXT NOT NULL, payload BYTEA NOT NULL, error TEXT NOT NULL, created DOUBLE PRECISION NOT NULL)
"""
RESEND_PICTURES = 64
QUARANTINED = 100


def open_store(place: Place) -> Database:
    """A connection to the cloud's store; every thread opens its own."""
    return open_database(place, SCHEMA)


class Pictures:
    """Assembling pictures, and what is due to devices. Times are seconds since the epoch.

    Methods that take a `Transaction` belong inside `transaction()`, so that many messages share one commit.
    """

    def __init__(self, place: Place) -> None:
        self.database = open_store(place)

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
        """(pictures, bytes of blocks and manifests) of a device that are not accepted yet."""
        row = self.database.row(
            "SELECT count(*) AS pictures, coalesce(sum(coalesce(length(manifest), 0) + ("
            " SELECT coalesce(sum(length(b.data)), 0) FROM blocks b"
            " WHERE b.device = p.device AND b.image = p.image)), 0) AS size"
            " FROM pictures p WHERE device = ? AND state = 'assembling'",
            device,
        )
        return (row["pictures"], int(row["size"])) if row else (0, 0)

    def queued(self, device: str) -> int:
        """Pictures of a device that are accepted and not finished."""
        query = "SELECT count(*) AS n FROM pictures WHERE device = ? AND state IN ('ready', 'shared')"
        row = self.database.row(query, device)
        return row["n"] if row else 0

    def backlog(self) -> int:
        """Pictures of all devices that are accepted and not finished."""
        row = self.database.row("SELECT count(*) AS n FROM pictures WHERE state IN ('ready', 'shared')")
        return row["n"] if row else 0

    def put_block(self, db: Transaction, device: str, image: bytes, block: int, data: bytes) -> None:
        """Stores (or replaces) a block of a picture that is not accepted yet."""
        self._begin(db, device, image)
        db.execute(
            "INSERT INTO blocks VALUES (?, ?, ?, ?) ON CONFLICT (device, image, block) DO UPDATE SET data = excluded.data",
            (device, image, block, data),
        )

    def put_manifest(
        self,
        db: Transaction,
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

    def _begin(self, db: Transaction, device: str, image: bytes) -> None:
        db.execute(
            "INSERT INTO pictures (device, image, state, shard, created)"
            " VALUES (?, ?, 'assembling', ?, ?) ON CONFLICT DO NOTHING",
            (device, image, keys.shard(device), self.database.now()),
        )

    def drop_blocks(self, db: Transaction, device: str, image: bytes, numbers: Iterable[int]) -> None:
        """Deletes blocks that do not fit the manifest."""
        query = "DELETE FROM blocks WHERE device = ? AND image = ? AND block = ?"
        db.executemany(query, [(device, image, n) for n in numbers])

    def accept(self, db: Transaction, device: str, image: bytes) -> None:
        """The picture is whole: it becomes a job, and a receipt is due."""
        db.execute(
            "UPDATE pictures SET state = 'ready', accepted = ?, receipt_due = 1"
            " WHERE device = ? AND image = ? AND state = 'assembling'",
            (self.database.now(), device, image),
        )

    def discard(self, db: Transaction, device: str, image: bytes) -> None:
        """Forgets a picture that was never accepted."""
        row = (device, image)
        db.execute("DELETE FROM blocks WHERE device = ? AND image = ?", row)
        db.execute("DELETE FROM pictures WHERE device = ? AND image = ? AND state = 'assembling'", row)

    def due(self, shards: str, limit: int = 64) -> list[Row]:
        """Pictures of these shards with a receipt or an answer to publish, oldest first."""
        marks = ",".join("?" * len(shards))
        return self.database.rows(
            f"SELECT * FROM pictures WHERE receipt_due + answer_due > 0 AND shard IN ({marks})"
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

    def ask_again(self, db: Transaction, device: str, image: bytes | None, since: float) -> None:
        """Makes receipt and answer due once more: of this image, or of the latest that wait or finished
        after `since`.
        """
        again = (
            "UPDATE pictures SET receipt_due = CASE WHEN state IN ('ready', 'shared') THEN 1 ELSE 0 END,"
            " answer_due = CASE WHEN state IN ('answered', 'failed') THEN 1 ELSE 0 END"
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

    def purge(self, assembling_s: float, answers_s: float, ids_s: float = math.inf) -> int:
        """Forgets pictures that did not become whole in `assembling_s`, messages as long in quarantine, and
        answers older than `answers_s`. Ids stay for `ids_s`, to answer repeats; the helper refuses a later one.
        Returns how many never became whole.
        """
        assembling_before = self.database.now() - assembling_s
        finished_before = self.database.now() - answers_s
        with self.database.transaction() as db:
            query = "SELECT device, image FROM pictures WHERE state = 'assembling' AND created < ?"
            old = db.execute(query, (assembling_before,)).fetchall()
            for row in old:
                self.discard(db, row["device"], row["image"])
            db.execute(
                "UPDATE pictures SET sealed = NULL, share = NULL WHERE state = 'answered'"
                " AND finished < ? AND answer_due = 0 AND share IS NOT NULL",
                (finished_before,),
            )
            db.execute("DELETE FROM quarantine WHERE created < ?", (assembling_before,))
            db.execute(
                "DELETE FROM pictures WHERE state IN ('answered', 'failed') AND answer_due = 0 AND finished < ?",
                (self.database.now() - ids_s,),
            )
            return len(old)

    def quarantine(self, topic: str, payload: bytes, error: str) -> None:
        """Keeps a message that met a defect of ours, for a person to look at; the newest few only."""
        with self.database.transaction("quarantine") as db:
            db.execute(
                "INSERT INTO quarantine VALUES (?, ?, ?, ?)",
                (topic, payload, error[:500], self.database.now()),
            )
            db.execute(
                "DELETE FROM quarantine WHERE created < (SELECT min(created) FROM"
                " (SELECT created FROM quarantine ORDER BY created DESC LIMIT ?) AS kept)",
                (QUARANTINED,),
            )

    def quarantined(self) -> list[Row]:
        """What is in quarantine, oldest first."""
        return self.database.rows("SELECT * FROM quarantine ORDER BY created")

    def release(self) -> int:
        """Empties the quarantine; returns how many went."""
        with self.database.transaction("quarantine") as db:
            return db.execute("DELETE FROM quarantine").rowcount

    def open_counts(self) -> dict[str, int]:
        """Pictures that are not finished, by state."""
        out = dict.fromkeys(("assembling", "ready", "shared"), 0)
        for which in ("= 'assembling'", "IN ('ready', 'shared')"):  # each has its index
            query = f"SELECT state, count(*) AS n FROM pictures WHERE state {which} GROUP BY state"
            out |= {r["state"]: r["n"] for r in self.database.rows(query)}
        return out

    def counts(self) -> dict[str, int]:
        """Pictures by state."""
        rows = self.database.rows("SELECT state, count(*) AS n FROM pictures GROUP BY state")
        return {r["state"]: r["n"] for r in rows}
