"""The cloud's side of a pair's material: compare pools, keep them filled while no picture waits, make on
demand.

A pool belongs to one pair, weights version and ingest kind. Both sides are compared once a connection before
the first use (`merge`: the higher cursor, the common batches), so whatever a crash left on one side alone is
never used.
"""

from __future__ import annotations

import os
import time

from blindsight.channel import Channel
from blindsight.cloud.config import Workers
from blindsight.service.engine import PairEngine, Program
from blindsight.service.logs import Log
from blindsight.service.metrics import Metrics
from blindsight.wire import jobs


class Pools:
    """All pools of one connection."""

    def __init__(
        self, channel: Channel, engine: PairEngine, config: Workers, metrics: Metrics, log: Log
    ) -> None:
        self._channel, self.engine, self._config = channel, engine, config
        self._metrics, self._log = metrics, log
        self._merged: set[tuple[bytes, str]] = set()
        self._filling: set[tuple[bytes, str]] = set()

    def restock(self, program: Program) -> bool:
        """Makes one batch for the first pool of the program that is being filled; whether it did."""
        ahead = self._config.material_for.split(",")
        for kind in jobs.INGESTS:
            in_use = kind in ahead or (program.version, kind) in self._merged
            if in_use and self._wants(program, kind, self._left(program, kind)):
                self._make(program, kind, self._config.material_batch)
                return True
        return False

    def stock(self, program: Program, kind: str) -> None:
        """Sees to it that there is a slot for the job at hand: without material it is made on demand."""
        if self._left(program, kind) == 0:
            self._metrics.count("material_on_demand")
            self._make(program, kind, min(self._config.material_batch, max(1, self._config.material_low)))

    def fill(self, program: Program, kind: str, slots: int) -> int:
        """Makes batches until there are `slots` slots; how many there are."""
        while (left := self._left(program, kind)) < slots:
            self._make(program, kind, min(slots - left, self._config.material_batch))
        return left

    def _wants(self, program: Program, kind: str, left: int) -> bool:
        pool = (program.version, kind)
        if left < self._config.material_low:
            self._filling.add(pool)
        elif left >= self._config.material_high:
            self._filling.discard(pool)
        return pool in self._filling

    def _left(self, program: Program, kind: str) -> int:
        """Slots at hand; compares the pools first, once a connection."""
        if (program.version, kind) not in self._merged:
            self._channel.send_control(self.engine.pool(program, kind).to_json())
            peer = jobs.Pool.from_json(jobs.expect(self._channel.recv_control(), "pool"))
            self.engine.merge(program, peer)
            self._merged.add((program.version, kind))
        left = self.engine.left(program, kind)
        self._metrics.gauge("material", left, model=program.name, kind=kind)
        return left

    def _make(self, program: Program, kind: str, most: int) -> None:
        count = min(most, program.fitting(kind))  # of a large network fewer
        request = jobs.MakeMaterial(
            program.name, program.plan.hash, program.version, kind, os.urandom(jobs.BATCH_ID_BYTES),
            self.engine.end(program, kind), count,
        )  # fmt: skip
        self._channel.send_control(request.to_json())
        jobs.expect(self._channel.recv_control(), "accept")
        started = time.monotonic()
        self.engine.make(program, request)
        seconds = time.monotonic() - started
        self._metrics.seconds("material_seconds", seconds / count)
        self._log.info("material-made", model=program.name, kind=kind, slots=count, seconds=round(seconds, 3))
