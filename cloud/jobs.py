"""The job store: pictures that are `ready` or `shared`, leased to workers.

`attempt` is raised durably before an attempt begins, and the cloud's share is durable before the helper is
asked to seal (DESIGN section 2, Result). A lease that expires, or whose owner restarted, frees the job: a
`ready` one runs again under a higher attempt with fresh masks and material, a `shared` one only asks the
helper for what is sealed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from blindsight.cloud.store import open_store
from blindsight.service.database import Place, Row
from blindsight.wire.result import FailureCode

MAX_WAIT_S = (
    600.0  # no lease or back-off is longer: a time further ahead was written before the clock jumped back
)
_FREE = (
    "state IN ('ready', 'shared') AND NOT (lease_until > ? AND lease_until < ?)"
    " AND NOT (not_before > ? AND not_before < ?)"
)
_DONE = "finished = ?, answer_due = 1, owner = NULL, lease_until = 0, salt = NULL, manifest = NULL"


@dataclass(frozen=True)
class Job:
    """One leased attempt. `share` is None before the network ran, else this attempt's share of the result
    (bytes).
    """

    device: str
    image: bytes
    attempt: int
    manifest: bytes = field(repr=False)
    manifest_hash: bytes
    model: str
    plan_hash: bytes
    accepted: float
    share: bytes | None = field(repr=False)

    @property
    def key(self) -> tuple[str, bytes]:
        """What names the picture."""
        return self.device, self.image


class Jobs:
    """Leases. One object, and one database connection, a thread."""

    def __init__(self, place: Place) -> None:
        self.database = open_store(place)

    def close(self) -> None:
        """Closes the connection."""
        self.database.close()

    def lease(self, owner: str, seconds: float, models: dict[str, set[bytes]]) -> Job | None:
        """The oldest free job of these models (name -> plan hashes); raises its attempt, durably, if it is
        to run.
        """
        plans = [(name, plan) for name, hashes in models.items() for plan in hashes]
        if not plans:
            return None
        wanted = " OR ".join(["(model = ? AND plan_hash = ?)"] * len(plans))
        query = f"SELECT * FROM pictures WHERE {_FREE} AND ({wanted}) ORDER BY accepted LIMIT 1"
        now = self.database.now()
        values = (now, now + MAX_WAIT_S) * 2 + tuple(v for plan in plans for v in plan)
        if self.database.row(query, *values) is None:
            return None  # nothing to write: an idle worker holds up nobody
        with self.database.transaction() as db:
            row: Row | None = db.execute(query + self.database.skip_locked, values).fetchone()
            if row is None:
                return None  # another worker was faster
            shared = row["state"] == "shared"
            attempt = row["share_attempt"] if shared else row["attempt"] + 1
            db.execute(
                "UPDATE pictures SET owner = ?, lease_until = ?, attempt = ? WHERE device = ? AND image = ?",
                (owner, now + seconds, max(row["attempt"], attempt), row["device"], row["image"]),
            )
        return Job(
            row["device"], row["image"], attempt, row["manifest"], row["manifest_hash"], row["model"],
            row["plan_hash"], row["accepted"], row["share"] if shared else None,
        )  # fmt: skip

    def blocks(self, job: Job) -> list[bytes]:
        """The picture's blocks in order."""
        query = "SELECT data FROM blocks WHERE device = ? AND image = ? ORDER BY block"
        return [r["data"] for r in self.database.rows(query, *job.key)]

    def renew(self, owner: str, seconds: float) -> None:
        """Prolongs every lease of `owner`."""
        with self.database.transaction() as db:
            db.execute(
                "UPDATE pictures SET lease_until = ? WHERE owner = ?", (self.database.now() + seconds, owner)
            )

    def release(self, owner: str) -> int:
        """Frees what `owner` held before it died; returns how many."""
        with self.database.transaction() as db:
            query = "UPDATE pictures SET owner = NULL, lease_until = 0 WHERE owner = ?"
            return db.execute(query, (owner,)).rowcount

    def put_share(self, job: Job, owner: str, share: bytes, reveal: int) -> bool:
        """Makes the share of this attempt durable; False (and nothing stored) where the lease has gone to
        another.
        """
        with self.database.transaction() as db:
            done = db.execute(
                "UPDATE pictures SET state = 'shared', share = ?, share_attempt = ?, reveal = ?"
                " WHERE device = ? AND image = ? AND state = 'ready' AND owner = ? AND attempt = ?",
                (share, job.attempt, reveal, *job.key, owner, job.attempt),
            )
            return done.rowcount == 1

    def retry(self, job: Job, owner: str, delay: float) -> None:
        """Gives the job back, to be taken again after `delay` seconds."""
        with self.database.transaction() as db:
            db.execute(
                "UPDATE pictures SET owner = NULL, lease_until = 0, not_before = ?"
                " WHERE device = ? AND image = ? AND owner = ?",
                (self.database.now() + delay, *job.key, owner),
            )

    def rerun(self, job: Job) -> None:
        """The helper lost its share of this attempt and answered nothing: forget ours and run again."""
        with self.database.transaction() as db:
            db.execute(
                "UPDATE pictures SET state = 'ready', share = NULL, share_attempt = NULL, owner = NULL,"
                " lease_until = 0 WHERE device = ? AND image = ? AND state = 'shared' AND share_attempt = ?",
                (*job.key, job.attempt),
            )

    def finish(self, job: Job, sealed: bytes) -> bool:
        """Stores the answer, deletes ciphertexts and salt, makes the answer due; one commit. False: done
        before.
        """
        with self.database.transaction() as db:
            done = db.execute(
                f"UPDATE pictures SET state = 'answered', sealed = ?, {_DONE}"
                " WHERE device = ? AND image = ? AND state = 'shared' AND share_attempt = ?",
                (sealed, self.database.now(), *job.key, job.attempt),
            )
            db.execute("DELETE FROM blocks WHERE device = ? AND image = ?", job.key)
            return done.rowcount == 1

    def fail(self, job: Job, code: FailureCode, reason: str) -> None:
        """Makes a failure due to the device; one commit with the deletion of the ciphertexts."""
        with self.database.transaction() as db:
            db.execute(
                f"UPDATE pictures SET state = 'failed', code = ?, reason = ?, share = NULL, {_DONE}"
                " WHERE device = ? AND image = ? AND state IN ('ready', 'shared')",
                (int(code), reason[:200], self.database.now(), *job.key),
            )
            db.execute("DELETE FROM blocks WHERE device = ? AND image = ?", job.key)
