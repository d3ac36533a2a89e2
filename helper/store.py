"""Which picture is bound to which manifest, which c1 was seen where, and what was answered: SQLite, fsync at
each commit.

Adversary: a cloud that resubmits, splices or replays (damage limitation, DESIGN section 1) and crashes at any
point. One transaction binds a picture and its c1 hashes; one other seals, stores and marks answered, so a
picture is answered once, and every later request gets the same bytes.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from sqlite3 import Connection

from blindsight.helper.config import Limits
from blindsight.service.database import Database
from blindsight.wire.blocks import Mode
from blindsight.wire.jobs import Code, Refused
from blindsight.wire.manifest import Manifest
from blindsight.wire.result import FailureCode

SCHEMA = """
CREATE TABLE IF NOT EXISTS pictures (
    device TEXT NOT NULL, image BLOB NOT NULL, manifest_hash BLOB NOT NULL, attempt INTEGER NOT NULL,
    attempts INTEGER NOT NULL, created REAL NOT NULL, answered REAL, answer_attempt INTEGER, sealed BLOB,
    PRIMARY KEY (device, image));
CREATE INDEX IF NOT EXISTS by_day ON pictures (device, created);
CREATE TABLE IF NOT EXISTS heads (
    head BLOB PRIMARY KEY, device TEXT NOT NULL, image BLOB NOT NULL) WITHOUT ROWID
"""
DAY_S = 86400.0


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

    def __init__(self, path: Path) -> None:
        self._db = Database(path, SCHEMA)

    def close(self) -> None:
        """Closes the connection."""
        self._db.close()

    def bind(self, parsed: Manifest, digest: bytes, attempt: int, seen: list[bytes], limits: Limits) -> None:
        """Allows one attempt, durably, or raises `Refused`."""
        key = (parsed.device, parsed.image)
        with self._db.transaction() as db:
            row = db.execute("SELECT * FROM pictures WHERE device = ? AND image = ?", key).fetchone()
            if row is None:
                self._quota(db, parsed.device, limits)
                db.execute(
                    "INSERT INTO pictures (device, image, manifest_hash, attempt, attempts, created)"
                    " VALUES (?, ?, ?, ?, 1, ?)",
                    (*key, digest, attempt, time.time()),
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
            self._once(db, key, seen)

    @staticmethod
    def _quota(db: Connection, device: str, limits: Limits) -> None:
        query = "SELECT count(*) AS n FROM pictures WHERE device = ? AND created > ?"
        if db.execute(query, (device, time.time() - DAY_S)).fetchone()["n"] >= limits.pictures_a_day:
            raise Refused(
                FailureCode.QUOTA, f"device {device} has used its {limits.pictures_a_day} pictures a day"
            )

    @staticmethod
    def _once(db: Connection, key: tuple[str, bytes], seen: list[bytes]) -> None:
        if len(set(seen)) != len(seen):
            raise Refused(FailureCode.BLOCK, "the same c1 twice in one picture")
        for head in seen:
            db.execute("INSERT OR IGNORE INTO heads VALUES (?, ?, ?)", (head, *key))
            row = db.execute("SELECT device, image FROM heads WHERE head = ?", (head,)).fetchone()
            if (row["device"], row["image"]) != key:
                raise Refused(FailureCode.BLOCK, "a c1 (or nonce) of this picture was seen in another")

    def sealed(self, device: str, image: bytes, attempt: int, seal: Callable[[], bytes] | None) -> bytes:
        """The sealed share of this attempt: the stored bytes, or those of `seal`, stored and marked answered
        in one transaction; `seal` is None where this side no longer has its share. Raises `Refused`.
        """
        with self._db.transaction() as db:
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
                (time.time(), attempt, data, device, image),
            )
            return data
