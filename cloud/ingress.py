"""Messages in, receipts and answers out. A message is acknowledged after the commit that holds it, and never
before.

Two threads beside paho's: `writer` commits what has arrived in batches (one fsync for many blocks) and
acknowledges; `outbox` publishes what the store says is due until the broker has it. While the disk refuses or is
nearly full, or too many accepted pictures wait for the workers (a pool of material that runs dry slows them),
nothing is taken and nothing acknowledged: the broker's limit on unacknowledged messages holds the devices back.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
import threading
import time

from blindsight.cloud.assemble import Assembler, PlanOf
from blindsight.cloud.config import CloudConfig
from blindsight.cloud.link import Arrival, BrokerLink
from blindsight.cloud.store import Pictures
from blindsight.service.database import Row, StoreFault
from blindsight.service.logs import Log
from blindsight.service.metrics import Metrics
from blindsight.wire import topics
from blindsight.wire.result import Failure, FailureCode, Receipt, Result, Reveal, share_from

BATCH = 256
POLL_S = 0.25
PURGE_S = 600.0
LOOK_S = 10.0
ARRIVALS = 4096  # more than a broker leaves unacknowledged; beyond it the connection itself is held back


class Ingress:
    """Runs until `stop()`. `wake` is set whenever a picture was accepted, for workers in this process."""

    def __init__(
        self, config: CloudConfig, plan_of: PlanOf, wake: threading.Event, metrics: Metrics, log: Log
    ) -> None:
        self._config, self._plan_of, self._wake = config, plan_of, wake
        self._metrics, self._log = metrics, log
        self._arrivals: queue.Queue[Arrival | None] = queue.Queue(ARRIVALS)
        self._acked: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.due = threading.Event()  # set by whoever made an answer due
        self._stop = threading.Event()
        # Something may have been deleted since the last scrub; at the start by a process that was killed.
        self._scrub_due = True
        self._counts: dict[str, int] = {}
        self.link = BrokerLink(config.broker, config.shards, self._arrived, self._broker_has, metrics, log)
        self._threads = [
            threading.Thread(target=run, name=name, daemon=True)
            for name, run in (("writer", self._write), ("outbox", self._publish))
        ]

    def start(self) -> None:
        """Starts the threads and the connection."""
        for thread in self._threads:
            thread.start()
        self.link.start()

    def stop(self) -> None:
        """Finishes what has arrived, then disconnects."""
        self._stop.set()
        self._arrivals.put(None)
        self.due.set()
        for thread in self._threads:
            thread.join(30)
        self.link.stop()

    # --- in

    def _arrived(self, arrival: Arrival) -> None:
        """In the connection's thread, which waits here while the queue is full, but not for a writer that has ended."""
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._arrivals.put(arrival, timeout=POLL_S)
                return

    def _open(self) -> Pictures | None:
        """This thread's store, as soon as it opens (a full disk, PostgreSQL away); None once the service stops."""
        while not self._stop.is_set():
            try:
                return Pictures(self._config.database)
            except StoreFault as error:
                self._metrics.count("store_errors")
                self._log.error("store-error", detail=str(error))
                self._stop.wait(1.0)
        return None

    def _write(self) -> None:
        pictures = self._open()
        if pictures is None:
            return
        assembler = Assembler(pictures, self._plan_of, self._config.limits, self._metrics, self._log)
        try:
            while (batch := self._take()) is not None:
                self._hold(pictures)
                try:
                    self._commit(pictures, assembler, batch)
                except Exception:
                    self._one_by_one(pictures, assembler, batch)
        finally:
            pictures.close()

    def _hold(self, pictures: Pictures) -> None:
        """Waits while there is no room for what is at hand."""
        held = False
        while (reason := self._pressure(pictures)) and not self._stop.wait(POLL_S):
            if not held:
                held = True
                self._metrics.gauge("held_back", 1)
                self._metrics.count("back_pressure", reason=reason)
                self._log.warning("held-back", reason=reason)
        if held:
            self._metrics.gauge("held_back", 0)
            self._log.info("taking-again")

    def _pressure(self, pictures: Pictures) -> str:
        limits = self._config.limits
        try:
            if shutil.disk_usage(self._config.data).free < limits.disk_free_bytes:
                return "disk"
            return "backlog" if pictures.backlog() >= limits.backlog else ""
        except (StoreFault, OSError):
            return ""  # the commit says what is wrong

    def _take(self) -> list[Arrival] | None:
        first = self._arrivals.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < BATCH:
            try:
                arrival = self._arrivals.get_nowait()
            except queue.Empty:
                break
            if arrival is None:
                self._arrivals.put(None)
                break
            batch.append(arrival)
        return batch

    def _commit(self, pictures: Pictures, assembler: Assembler, batch: list[Arrival]) -> None:
        while True:
            assembler.failures.clear()
            try:
                with pictures.database.transaction() as db:
                    for arrival in batch:
                        assembler.apply(db, arrival.topic, arrival.payload)
                break
            except StoreFault as error:
                self._metrics.count("store_errors")
                self._log.error("store-error", detail=str(error))
                if self._stop.wait(1.0):
                    return  # not acknowledged: the broker delivers it again
        for arrival in batch:
            arrival.ack()
        for device, image, failure in assembler.failures:
            self.link.publish(topics.down(device, image), failure.encode())
        self._metrics.count("messages", len(batch))
        self._wake.set()
        self.due.set()

    def _one_by_one(self, pictures: Pictures, assembler: Assembler, batch: list[Arrival]) -> None:
        """Something in the batch meets a defect of ours: that message goes to quarantine, the others live."""
        for arrival in batch:
            try:
                self._commit(pictures, assembler, [arrival])
            except Exception as error:
                self._metrics.count("messages_poisoned")
                self._log.error("poisoned", exc_info=True, topic=arrival.topic, bytes=len(arrival.payload))
                with contextlib.suppress(StoreFault):
                    pictures.quarantine(arrival.topic, arrival.payload, repr(error))
                arrival.ack()

    # --- out

    def _broker_has(self, mid: int) -> None:
        self._acked.put(mid)
        self.due.set()

    def _publish(self) -> None:
        pictures = self._open()
        if pictures is None:
            return
        sent: dict[int, tuple[str, bytes, str]] = {}
        next_purge, next_look = 0.0, 0.0
        try:
            while not self._stop.is_set():
                if self.due.wait(POLL_S):
                    self.due.clear()
                    self._scrub_due = True  # by the writer or a worker, also while the broker is away
                try:
                    self._settle(pictures, sent)
                    self._send_due(pictures, sent)
                    if time.monotonic() > next_look:
                        next_look = time.monotonic() + LOOK_S
                        self._look(pictures)
                    if time.monotonic() > next_purge:
                        next_purge = time.monotonic() + PURGE_S
                        self._purge(pictures)
                except Exception:  # the disk, or a defect of ours: answers stay due and are tried again
                    self._metrics.count("outbox_errors")
                    self._log.error("outbox-error", exc_info=True)
                    self._stop.wait(1.0)
            self._settle(pictures, sent)
        finally:
            pictures.close()

    def _settle(self, pictures: Pictures, sent: dict[int, tuple[str, bytes, str]]) -> None:
        done = []
        while not self._acked.empty():
            entry = sent.pop(self._acked.get(), None)
            if entry is not None:
                done.append(entry)
        if done:
            pictures.published(done)
        if not self.link.connected.is_set():
            sent.clear()  # published again over the next connection; devices deduplicate

    def _send_due(self, pictures: Pictures, sent: dict[int, tuple[str, bytes, str]]) -> None:
        under_way = set(sent.values())
        for row in pictures.due(self._config.shards):
            for what in ("receipt", "answer"):
                entry = (row["device"], row["image"], what)
                if not row[f"{what}_due"] or entry in under_way:
                    continue
                message = Receipt(row["manifest_hash"]).encode() if what == "receipt" else answer(row)
                mid = self.link.publish(topics.down(row["device"], row["image"]), message)
                if mid is None:
                    return
                sent[mid] = entry
                self._metrics.count("published", what=what)

    def _look(self, pictures: Pictures) -> None:
        counts = pictures.open_counts()
        for state, count in counts.items():
            self._metrics.gauge("pictures", count, state=state)
        if self._scrub_due or counts != self._counts:  # other processes work on this store too
            pictures.database.scrub()  # deleted ciphertexts leave the write-ahead log too
            self._scrub_due, self._counts = False, counts

    def _purge(self, pictures: Pictures) -> None:
        limits = self._config.limits
        gone = pictures.purge(limits.assembling_s, limits.answers_s, limits.ids_s)
        self._scrub_due = True  # quarantine and old answers go too
        if gone:
            self._log.info("purged", pictures=gone)


def answer(row: Row) -> bytes:
    """The result or failure of a finished picture, as the device gets it."""
    if row["state"] == "answered" and row["sealed"] is not None:
        share = share_from(row["share"])
        return Result(row["share_attempt"], Reveal(row["reveal"]), share, row["sealed"]).encode()
    if row["state"] == "answered":
        return Failure(FailureCode.GAVE_UP, "the answer is too old and was deleted").encode()
    return Failure(FailureCode(row["code"]), row["reason"]).encode()
