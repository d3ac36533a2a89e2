"""The helper's store: which picture is bound to which manifest, which c1 was seen where, what was answered; and the
register of devices, whose rules are in `helper.keys`.

Adversary: a cloud that resubmits, splices or replays (damage limitation, DESIGN section 1) and crashes at any
point. One transaction binds a picture and its c1 hashes; one other seals, stores and marks answered, so a
picture is answered once, and every later request gets the same bytes. What is kept names the key it came under and
goes when that key has ended (`prune`): no manifest of such a key is looked at any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from blindsight.helper.config import Limits
from blindsight.service.database import Database, Place, Transaction, open_database
from blindsight.wire.blocks import Mode
from blindsight.wire.jobs import Code, Refused
from blindsight.wire.manifest import Manifest
from blindsight.wire.result import FailureCode

SCHEMA = """
CREATE TABLE IF NOT EXISTS pictures (
    device TEXT NOT NULL, image BYTEA NOT NULL, key_id BYTEA NOT NULL, manifest_hash BYTEA NOT NULL,
    attempt BIGINT NOT NULL, attempts BIGINT NOT NULL, created DOUBLE PRECISION NOT NULL,
    answered DOUBLE PRECISION, answer_attempt BIGINT, sealed BYTEA, PRIMARY KEY (device, image));
CREATE INDEX IF NOT EXISTS by_day ON pictures (device, created);
CREATE TABLE IF NOT EXISTS heads (
    head BYTEA PRIMARY KEY, device TEXT NOT NULL, image BYTEA NOT NULL, key_id BYTEA NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_key ON heads (key_id);
CREATE TABLE IF NOT EXISTS devices (
    device TEXT NOT NULL, epoch BIGINT NOT NULL, state TEXT NOT NULL, fleet BIGINT NOT NULL,
    public_key BYTEA NOT NULL, key_id_rlwe BYTEA NOT NULL, key_id_epoch BYTEA NOT NULL,
    since DOUBLE PRECISION NOT NULL, pruned BIGINT NOT NULL DEFAULT 0, PRIMARY KEY (device, epoch));
CREATE TABLE IF NOT EXISTS roots (
    device TEXT NOT NULL, epoch BIGINT NOT NULL, sealed BYTEA NOT NULL, PRIMARY KEY (device, epoch))
"""
DAY_S = 86400.0
PRUNE_ROWS = 5000  # a transaction


def open_store(place: Place) -> Database:
    """A connection to the helper's store; every thread opens its own."""
    return open_database(place, SCHEMA)


def heads(parsed: Manifest, polys: list[bytes]) -> list[bytes]:
    """What must never come twice: a hash of each polynomial's c1 or seed; in `aes` mode of the device's
    nonce.
    """
    if parsed.mode is Mode.AES:
        return [hashlib.sha256(b"aes" + parsed.device.encode() + b"\x00" + parsed.nonce).digest()]
    size = parsed.layout.head_bytes
    return [hashlib.sha256(p[:size]).digest() for p in polys]


class Store:
    """One connection; every thread opens its own."""

    def __init__(self, place: Place) -> None:
        self._db = open_store(place)

    def close(self) -> None:
        """Closes the connection."""
        self._db.close()

    def bind(self, parsed: Manifest, digest: bytes, attempt: int, seen: list[bytes], limits: Limits) -> None:
        """Allows one attempt, durably, or raises `Refused`."""
        key = (parsed.device, parsed.image)
        now = self._db.now()
        with self._db.transaction(f"device {parsed.device}") as db:
            row = db.execute("SELECT * FROM pictures WHERE device = ? AND image = ?", key).fetchone()
            if row is None:
                self._quota(db, parsed.device, now, limits)
                db.execute(
                    "INSERT INTO pictures (device, image, key_id, manifest_hash, attempt, attempts, created)"
                    " VALUES (?, ?, ?, ?, ?, 1, ?)",
                    (*key, parsed.key_id, digest, attempt, now),
                )
            else:
                if row["manifest_hash"] != digest:
                    raise Refused(FailureCode.MANIFEST, "this image is bound to another manifest")
                if row["answered"] is not None:
                    raise Refused(Code.ANSWERED, f"answered in attempt {row['answer_attempt']}")
                if attempt <= row["attempt"]:
                    raise Refused(Code.AGAIN, f"attempt {attempt} is not above {row['attempt']}")
                if row["attempts"] >= limits.attempts:
                    raise Refused(FailureCode.QUOTA, f"{row['attempts']} attempts at one picture")
                db.execute(
                    "UPDATE pictures SET attempt = ?, attempts = attempts + 1 WHERE device = ? AND image = ?",
                    (attempt, *key),
                )
            self._once(db, key, parsed.key_id, seen)

    @staticmethod
    def _quota(db: Transaction, device: str, now: float, limits: Limits) -> None:
        query = "SELECT count(*) AS n FROM pictures WHERE device = ? AND created > ?"
        if db.execute(query, (device, now - DAY_S)).fetchone()["n"] >= limits.pictures_a_day:
            raise Refused(
                FailureCode.QUOTA, f"device {device} has used its {limits.pictures_a_day} pictures a day"
            )

    @staticmethod
    def _once(db: Transaction, key: tuple[str, bytes], key_id: bytes, seen: list[bytes]) -> None:
        if len(set(seen)) != len(seen):
            raise Refused(FailureCode.BLOCK, "the same c1 twice in one picture")
        for head in sorted(seen):  # one order for all: two pictures never wait for each other
            db.execute("INSERT INTO heads VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", (head, *key, key_id))
            row = db.execute("SELECT device, image FROM heads WHERE head = ?", (head,)).fetchone()
            if (row["device"], row["image"]) != key:
                raise Refused(FailureCode.BLOCK, "a c1 (or nonce) of this picture was seen in another")

    def sealed(self, device: str, image: bytes, attempt: int, seal: Callable[[], bytes] | None) -> bytes:
        """The sealed share of this attempt: the stored bytes, or those of `seal`, stored and marked answered
        in one transaction; `seal` is None where this side no longer has its share. Raises `Refused`.
        """
        with self._db.transaction(f"device {device}") as db:
            query = "SELECT * FROM pictures WHERE device = ? AND image = ?"
            row = db.execute(query, (device, image)).fetchone()
            if row is not None and row["answered"] is not None:
                if row["answer_attempt"] != attempt:
                    raise Refused(Code.LOST, f"answered in attempt {row['answer_attempt']}, not {attempt}")
                stored: bytes = row["sealed"]
                return stored
            if row is None or seal is None:
                raise Refused(Code.RERUN, f"the share of attempt {attempt} is gone")
            data = seal()
            db.execute(
                "UPDATE pictures SET answered = ?, answer_attempt = ?, sealed = ? WHERE device = ? AND image = ?",
                (self._db.now(), attempt, data, device, image),
            )
            return data

    def prune(self) -> int:
        """Forgets pictures and c1 of keys that have ended, a few thousand a transaction; returns how many rows."""
        gone, live = 0, "SELECT 1 FROM devices WHERE {column} = ? AND state != 'ended'"
        for row in self._db.rows("SELECT * FROM devices WHERE state = 'ended' AND pruned = 0"):
            for column in ("key_id_rlwe", "key_id_epoch"):
                key_id = row[column]
                if self._db.row(live.format(column=column), key_id) is None:  # a fleet's key has several rows
                    gone += self._forget("pictures", "device, image", key_id)
                    gone += self._forget("heads", "head", key_id)
            with self._db.transaction() as db:
                query = "UPDATE devices SET pruned = 1 WHERE device = ? AND epoch = ?"
                db.execute(query, (row["device"], row["epoch"]))
        if gone:
            self._db.scrub()
        return gone

    def _forget(self, table: str, key: str, key_id: bytes) -> int:
        gone, some = 0, f"SELECT {key} FROM {table} WHERE key_id = ? LIMIT {PRUNE_ROWS}"
        while True:
            with self._db.transaction() as db:
                count = db.execute(f"DELETE FROM {table} WHERE ({key}) IN ({some})", (key_id,)).rowcount
            gone += count
            if count < PRUNE_ROWS:
                return gone
