"""From messages to accepted pictures: validate, deduplicate, persist. No network here; `cloud.ingress` brings
the messages.

Adversary: any client of the broker; every byte is untrusted and a refusal harms no other picture. The cloud
cannot check a manifest's HMAC (the helper does, before it decrypts); it checks shape, model, quota and the
salted commitments, so that what it accepts is what one manifest describes. The salt is stored for that and
never passed on.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable

from blindsight.cloud.config import Limits
from blindsight.cloud.store import Pictures
from blindsight.nn.plan import Plan
from blindsight.service.database import Row, Transaction
from blindsight.service.logs import Log
from blindsight.service.metrics import Metrics
from blindsight.wire import WireError, manifest, topics
from blindsight.wire.blocks import MAX_BLOCK_BYTES, commitment
from blindsight.wire.result import Failure, FailureCode

PlanOf = Callable[[str, bytes], Plan | None]
MAX_STATUS = 512


class Said:
    """How many refusals were logged in this minute, of a device and of all."""

    def __init__(self, of_one: int = 60, of_all: int = 600) -> None:
        self._of_one, self._of_all = of_one, of_all
        self._minute, self._counts, self._total = -1, Counter[str](), 0

    def enough(self, device: str) -> bool:
        """Counts one more; whether it is too many to log."""
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute, self._total = minute, 0
            self._counts.clear()
        self._total += 1
        self._counts[device] += 1
        return self._total > self._of_all or self._counts[device] > self._of_one


class Assembler:
    """Applies messages within one transaction. `plan_of` finds a served plan by model name and plan hash.

    Failures to publish at once (they are not stored: the picture never was accepted) collect in `failures`.
    """

    def __init__(
        self, pictures: Pictures, plan_of: PlanOf, limits: Limits, metrics: Metrics, log: Log
    ) -> None:
        self._pictures, self._plan_of, self._limits = pictures, plan_of, limits
        self._metrics, self._log = metrics, log
        self.failures: list[tuple[str, bytes, Failure]] = []
        self._said = Said()

    def apply(self, db: Transaction, topic: str, payload: bytes) -> None:
        """One message; whatever is wrong with it is counted and logged, never raised."""
        try:
            what = topics.parse(topic)
            if isinstance(what, topics.Block):
                self._block(db, what, payload)
            elif isinstance(what, topics.ManifestTopic):
                self._manifest(db, what, payload)
            else:
                self._status(db, what, payload)
        except WireError as error:
            self._refuse("malformed", str(error))

    def _refuse(self, reason: str, detail: str, device: str = "", image: bytes = b"") -> None:
        self._metrics.count("messages_refused", reason=reason)
        if self._said.enough(device):
            return  # a flood fills the counter, not the disk that the log is on
        self._log.warning("refused", reason=reason, detail=detail, device=device, image=image.hex())

    def _block(self, db: Transaction, what: topics.Block, data: bytes) -> None:
        if not 0 < len(data) <= MAX_BLOCK_BYTES:
            raise WireError(f"block of {len(data)} bytes from {what.device}")
        row = self._pictures.get(what.device, what.image)
        if row is not None and row["state"] != "assembling":
            self._again(db, what.device, what.image)
            return
        if not self._room(what.device, what.image, len(data), row):
            return
        if row is None or row["manifest"] is None:
            self._pictures.put_block(db, what.device, what.image, what.block, data)
        else:
            parsed = manifest.parse(row["manifest"])
            if not self._fits(parsed, row["salt"], what.block, data):
                self._refuse("commitment", f"block {what.block}", what.device, what.image)
                return
            self._pictures.put_block(db, what.device, what.image, what.block, data)
            self._finish(db, what.device, what.image, parsed)
        self._metrics.count("blocks_stored")

    def _room(self, device: str, image: bytes, size: int, row: Row | None) -> bool:
        pictures, held = self._pictures.waiting(device)
        full = held + size > self._limits.bytes_waiting
        if row is None and not full:
            queued = self._pictures.queued(device)
            full = pictures >= self._limits.pictures_waiting or queued >= self._limits.pictures_queued
        if full:
            self._refuse("quota", f"{pictures} pictures, {held} bytes wait", device, image)
        return not full

    @staticmethod
    def _fits(parsed: manifest.Manifest, salt: bytes, block: int, data: bytes) -> bool:
        layout = parsed.layout
        return (
            block < layout.blocks
            and len(data) == layout.block_bytes(block)
            and commitment(salt, block, data) == parsed.commitments[block]
        )

    def _manifest(self, db: Transaction, what: topics.ManifestTopic, payload: bytes) -> None:
        row = self._pictures.get(what.device, what.image)
        if row is not None and row["state"] != "assembling":
            if row["manifest_hash"] == manifest.manifest_hash(payload[: -manifest.SALT_BYTES]):
                self._again(db, what.device, what.image)
            else:
                self._refuse("conflict", "another manifest of an accepted picture", what.device, what.image)
            return
        try:
            data, salt = manifest.split_salt(payload)
            parsed = manifest.parse(data)
        except WireError as error:
            self._fail(what, FailureCode.MANIFEST, str(error))
            return
        digest = manifest.manifest_hash(data)
        if (parsed.device, parsed.image) != (what.device, what.image):
            self._fail(
                what, FailureCode.MANIFEST, "the manifest is of another device or image than its topic"
            )
            return
        plan = self._plan_of(parsed.model, parsed.plan_hash)
        shape = (parsed.height, parsed.width, parsed.channels)
        if plan is None or shape != (plan.height, plan.width, plan.channels):
            self._fail(
                what, FailureCode.MODEL, f"no model {parsed.model} with this plan and shape is served here"
            )
            self._pictures.discard(db, what.device, what.image)
            return
        if not self._room(what.device, what.image, len(data), row):
            return
        plan_key = (parsed.model, parsed.plan_hash)
        self._pictures.put_manifest(db, what.device, what.image, data, digest, salt, plan_key)
        held = self._pictures.blocks(what.device, what.image)
        bad = [n for n, block in held if not self._fits(parsed, salt, n, block)]
        if bad:
            self._refuse("commitment", f"{len(bad)} stored blocks", what.device, what.image)
            self._pictures.drop_blocks(db, what.device, what.image, bad)
        self._finish(db, what.device, what.image, parsed)

    def _fail(self, what: topics.ManifestTopic, code: FailureCode, reason: str) -> None:
        self._refuse(code.name.lower(), reason, what.device, what.image)
        self.failures.append((what.device, what.image, Failure(code, reason)))

    def _finish(self, db: Transaction, device: str, image: bytes, parsed: manifest.Manifest) -> None:
        if self._pictures.count_blocks(device, image) == parsed.layout.blocks:
            self._pictures.accept(db, device, image)
            self._metrics.count("pictures_accepted", mode=parsed.mode.label)
            self._log.info(
                "accepted", device=device, image=image.hex(), model=parsed.model, mode=parsed.mode.label
            )

    def _again(self, db: Transaction, device: str, image: bytes) -> None:
        """A device that sends again has no receipt yet, or lost it: answer once more."""
        self._metrics.count("messages_repeated")
        self._pictures.ask_again(db, device, image, 0.0)

    def _status(self, db: Transaction, what: topics.Status, payload: bytes) -> None:
        if not payload:
            return  # a retained status that was cleared
        if len(payload) > MAX_STATUS:
            raise WireError(f"status of {len(payload)} bytes from {what.device}")
        try:
            status = json.loads(payload)
        except (ValueError, RecursionError):
            raise WireError(f"status of {what.device} is not JSON") from None
        if not isinstance(status, dict) or status.get("state") != "online":
            return
        if status.get("pending") != 0:  # a number; devices that do not say may wait as well
            self._pictures.ask_again(
                db, what.device, None, self._pictures.database.now() - self._limits.resend_s
            )
