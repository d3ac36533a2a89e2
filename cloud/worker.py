"""A cloud worker: leases a job, masks the picture, runs it with the helper, stores the share, then asks for
the seal.

Adversary: the helper, semi-honest; it gets c1 and c0 + R (uniform) and its side of the two-party protocols.
Every attempt draws a fresh R and burns fresh material. The order of DESIGN section 2 (Result) is the order of
the calls in `_job`: attempt raised (lease) - run - share durable - seal - answer durable. Killing the worker
between any two of them is recovered by the next one from the store alone.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import numpy as np

from blindsight.channel import Channel, ChannelError
from blindsight.cloud.config import CloudConfig
from blindsight.cloud.jobs import Job, Jobs
from blindsight.cloud.models import ModelError, Registry, Version
from blindsight.he.ingest import ciphertext_share, mask
from blindsight.nn.plan import PlanError
from blindsight.offline.store import StoreError
from blindsight.service.engine import PairEngine, Program, ingest_kind
from blindsight.service.logs import Log
from blindsight.service.metrics import Metrics
from blindsight.wire import WireError, jobs, manifest
from blindsight.wire.blocks import Mode
from blindsight.wire.result import FailureCode, Reveal, share_bytes

Connect = Callable[[dict[str, object]], Channel]
Loader = Callable[[Version], Program]
MakeEngine = Callable[[Channel, str], PairEngine]
IDLE_S = 0.25
PING_S = 15.0


class Worker(threading.Thread):
    """One worker pair's cloud side, in a thread of its own. `stop` ends it after the job at hand."""

    def __init__(
        self, name: str, config: CloudConfig, registry: Registry, load: Loader, connect: Connect,
        make_engine: MakeEngine, wake: threading.Event, due: threading.Event, metrics: Metrics, log: Log,
    ) -> None:  # fmt: skip
        super().__init__(name=f"worker-{name}", daemon=True)
        self._pair, self._config, self._registry, self._load = name, config, registry, load
        self._connect, self._make_engine = connect, make_engine
        self._wake, self._due, self._metrics, self._log = wake, due, metrics, log
        self.stop = threading.Event()
        self.busy = False  # a job is at hand
        self._merged: set[tuple[bytes, str]] = set()  # pools compared over the present connection
        self._filling: set[tuple[bytes, str]] = set()
        self._models: dict[str, dict[bytes, Version]] = {}

    def run(self) -> None:
        """Connects and works until stopped; a failed connection is made anew."""
        store = Jobs(self._config.database)
        freed = store.release(self._pair)
        if freed:
            self._log.info("resumed", pair=self._pair, jobs=freed)
        delay = self._config.workers.retry_s
        while not self.stop.is_set():
            engine = channel = None
            try:
                channel = self._open()
                engine = self._make_engine(channel, self._pair)
                self._merged.clear()
                delay = self._config.workers.retry_s
                self._serve(store, channel, engine)
            except (ChannelError, WireError, StoreError, ModelError, PlanError) as error:
                self._metrics.count("link_failures")
                self._log.warning("link-failed", pair=self._pair, detail=str(error))
                self.stop.wait(delay)
                delay = min(2 * delay, self._config.workers.retry_max_s)
            except Exception:
                self._metrics.count("worker_errors")
                self._log.error("worker-error", exc_info=True, pair=self._pair)
                self.stop.wait(delay)
                delay = min(2 * delay, self._config.workers.retry_max_s)
            finally:
                if engine is not None:
                    engine.close()
                if channel is not None:
                    channel.close()
        store.close()

    def _open(self) -> Channel:
        serving = self._registry.serving()
        hello = jobs.hello({name: list(versions) for name, versions in serving.items()}, self._pair)
        channel = self._connect(hello)
        theirs = jobs.models_of(channel.peer)
        self._models = {
            name: {h: v for h, v in versions.items() if h in theirs.get(name, set())}
            for name, versions in serving.items()
        }
        lacking = [n for n, v in serving.items() if set(v) - set(self._models[n])]
        if lacking:
            self._log.warning("helper-lacks-plan", models=", ".join(lacking))
        self._log.info("helper-connected", pair=self._pair)
        return channel

    def _serve(self, store: Jobs, channel: Channel, engine: PairEngine) -> None:
        last = time.monotonic()
        while not self.stop.is_set():
            if self._stale():
                return  # a model came or went: HELLO again
            job = store.lease(
                self._pair, self._config.workers.lease_s, {n: set(v) for n, v in self._models.items()}
            )
            if job is not None:
                self.busy = True
                try:
                    with _Renewal(self._config, self._pair):
                        self._guarded(store, channel, engine, job)
                finally:
                    self.busy = False
                last = time.monotonic()
                continue
            if self._restock(channel, engine):
                last = time.monotonic()
                continue
            if time.monotonic() - last > PING_S:
                channel.send_control(jobs.PING)
                jobs.expect(channel.recv_control(), "pong")
                last = time.monotonic()
            self._wake.wait(IDLE_S)
            self._wake.clear()

    def _stale(self) -> bool:
        serving = self._registry.serving()
        return any(
            self._models.get(n, {}).get(h, v) != v for n, vs in serving.items() for h, v in vs.items()
        ) or set(serving) != set(self._models)

    # --- one job

    def _guarded(self, store: Jobs, channel: Channel, engine: PairEngine, job: Job) -> None:
        try:
            self._job(store, channel, engine, job)
        except jobs.Refused as refusal:
            self._refused(store, job, refusal)
        except BaseException:
            self._later(store, job)
            raise

    def _job(self, store: Jobs, channel: Channel, engine: PairEngine, job: Job) -> None:
        started = time.monotonic()
        if job.share is None:
            version = self._models[job.model][job.plan_hash]
            program = self._load(version)
            share = self._attempt(store, channel, engine, job, program)
            reveal = Reveal.named(program.plan.reveal.mode)
            if not store.put_share(job, self._pair, share_bytes(share), reveal):
                self._log.warning("lease-lost", device=job.device, image=job.image.hex(), attempt=job.attempt)
                return
        channel.send_control(jobs.Seal(job.device, job.image, job.attempt).to_json())
        size = jobs.sealed_length(jobs.expect(channel.recv_control(), "sealed"))
        sealed = channel.recv(size).tobytes()
        if store.finish(job, sealed):
            self._metrics.count("pictures_answered")
            self._metrics.seconds("answer_seconds", time.time() - job.accepted)
            self._log.info(
                "answered", device=job.device, image=job.image.hex(), attempt=job.attempt,
                seconds=round(time.monotonic() - started, 3), since_accepted=round(time.time() - job.accepted, 3),
            )  # fmt: skip
        self._due.set()

    def _attempt(
        self, store: Jobs, channel: Channel, engine: PairEngine, job: Job, program: Program
    ) -> np.ndarray:
        parsed = manifest.parse(job.manifest)
        kind = ingest_kind(parsed.mode)
        self._stock(channel, engine, program, kind)
        blocks = store.blocks(job)
        polys, pixels = _split(parsed, blocks)
        slot = engine.next(program, kind)
        request = jobs.Infer(
            job.device, job.image, job.attempt, job.model, job.plan_hash, program.version, slot,
            len(job.manifest), len(polys),
        )  # fmt: skip
        channel.send_control(request.to_json())
        channel.send(job.manifest)
        if polys:
            channel.send(polys)
        jobs.expect(channel.recv_control(), "accept")
        self._metrics.count("attempts")
        return engine.run(program, parsed.mode, slot, pixels)

    def _refused(self, store: Jobs, job: Job, refusal: jobs.Refused) -> None:
        self._metrics.count("refused_by_helper", code=str(int(refusal.code)))
        self._log.warning(
            "refused-by-helper", device=job.device, image=job.image.hex(), attempt=job.attempt, code=int(refusal.code),
            detail=refusal.reason,
        )  # fmt: skip
        if refusal.code == jobs.Code.RERUN:
            store.rerun(job)
        elif refusal.code == jobs.Code.AGAIN:
            self._later(store, job)
        elif refusal.code in (jobs.Code.ANSWERED, jobs.Code.LOST):
            store.fail(job, FailureCode.GAVE_UP, "the servers lost the cloud's share of this picture")
            self._due.set()
        else:
            code = FailureCode(refusal.code) if refusal.code in list(FailureCode) else FailureCode.GAVE_UP
            store.fail(job, code, refusal.reason)
            self._due.set()

    def _later(self, store: Jobs, job: Job) -> None:
        if job.share is None and job.attempt >= self._config.limits.attempts:
            store.fail(job, FailureCode.GAVE_UP, f"{job.attempt} attempts failed")
            self._due.set()
            return
        workers = self._config.workers
        store.retry(
            job, self._pair, min(workers.retry_s * 2 ** min(job.attempt - 1, 10), workers.retry_max_s)
        )

    # --- material

    def _restock(self, channel: Channel, engine: PairEngine) -> bool:
        """Makes one batch for the first pool that is being filled; whether it did. Called while no job
        waits.
        """
        ahead = self._config.workers.material_for.split(",")
        for versions in self._models.values():
            for version in versions.values():
                for kind in jobs.INGESTS:
                    if kind not in ahead and (version.id, kind) not in self._merged:
                        continue
                    program = self._load(version)
                    if self._wants(program, kind, self._left(channel, engine, program, kind)):
                        self._make(channel, engine, program, kind, self._config.workers.material_batch)
                        return True
        return False

    def _wants(self, program: Program, kind: str, left: int) -> bool:
        pool, workers = (program.version, kind), self._config.workers
        if left < workers.material_low:
            self._filling.add(pool)
        elif left >= workers.material_high:
            self._filling.discard(pool)
        return pool in self._filling

    def _stock(self, channel: Channel, engine: PairEngine, program: Program, kind: str) -> None:
        """Sees to it that there is a slot for the job at hand: without material it is made on demand."""
        if self._left(channel, engine, program, kind) == 0:
            self._metrics.count("material_on_demand")
            workers = self._config.workers
            self._make(
                channel, engine, program, kind, min(workers.material_batch, max(1, workers.material_low))
            )

    def _left(self, channel: Channel, engine: PairEngine, program: Program, kind: str) -> int:
        """Slots at hand; compares the pools first, once a connection."""
        if (program.version, kind) not in self._merged:
            channel.send_control(engine.pool(program, kind).to_json())
            peer = jobs.Pool.from_json(jobs.expect(channel.recv_control(), "pool"))
            engine.merge(program, peer)
            self._merged.add((program.version, kind))
        left = engine.left(program, kind)
        self._metrics.gauge("material", left, model=program.name, kind=kind)
        return left

    def _make(self, channel: Channel, engine: PairEngine, program: Program, kind: str, count: int) -> None:
        request = jobs.MakeMaterial(
            program.name, program.plan.hash, program.version, kind, os.urandom(jobs.BATCH_ID_BYTES),
            engine.end(program, kind), count,
        )  # fmt: skip
        channel.send_control(request.to_json())
        jobs.expect(channel.recv_control(), "accept")
        started = time.monotonic()
        engine.make(program, request)
        seconds = time.monotonic() - started
        self._metrics.seconds("material_seconds", seconds / count)
        self._log.info("material-made", model=program.name, kind=kind, slots=count, seconds=round(seconds, 3))


def _split(parsed: manifest.Manifest, blocks: list[bytes]) -> tuple[bytes, np.ndarray]:
    """(what goes to the helper, the cloud's ingest share); fresh masks at every call."""
    if parsed.mode is Mode.AES:
        return b"", ciphertext_share(parsed.layout, blocks)
    return mask(parsed.layout, blocks)


class _Renewal:
    """Keeps the pair's leases alive while a job runs, from a connection and thread of its own."""

    def __init__(self, config: CloudConfig, owner: str) -> None:
        self._config, self._owner = config, owner
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()

    def _run(self) -> None:
        seconds = self._config.workers.lease_s
        store = None
        while not self._done.wait(seconds / 3):
            store = store or Jobs(self._config.database)
            store.renew(self._owner, seconds)
        if store is not None:
            store.close()
