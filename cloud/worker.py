"""A cloud worker: leases a job, masks the picture, runs it with the helper, stores the share, then asks for
the seal.

Adversary: the helper, semi-honest; it gets c1 and c0 + R (uniform) and its side of the two-party protocols.
Every attempt draws a fresh R and burns fresh material. The order of DESIGN section 2 (Result) is the order of
the calls in `_job`: attempt raised (lease) - run - share durable - seal - answer durable. Killing the worker
between any two of them is recovered by the next one from the store alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np

from blindsight.channel import Channel, ChannelError
from blindsight.cloud.config import CloudConfig
from blindsight.cloud.jobs import Job, Jobs
from blindsight.cloud.models import ModelError, Registry, Version
from blindsight.cloud.pools import Pools
from blindsight.cloud.renewal import Renewal
from blindsight.he.ingest import ciphertext_share, mask
from blindsight.nn.plan import PlanError
from blindsight.offline.store import StoreError
from blindsight.service.database import StoreFault
from blindsight.service.engine import PairEngine, Program, ingest_kind
from blindsight.service.logs import Log
from blindsight.service.metrics import Metrics
from blindsight.service.secretfile import SecretError
from blindsight.wire import WireError, jobs, manifest
from blindsight.wire.blocks import Mode
from blindsight.wire.result import FailureCode, Reveal, sealed_bytes, share_bytes

Connect = Callable[[dict[str, object]], Channel]
Loader = Callable[[Version], Program]
MakeEngine = Callable[[Channel, str], PairEngine]
EXPECTED = (ChannelError, WireError, StoreError, ModelError, PlanError, SecretError, jobs.Refused)
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
        self._models: dict[str, dict[bytes, Version]] = {}

    @property
    def pair(self) -> str:
        """Name of the worker pair."""
        return self._pair

    def run(self) -> None:
        """Connects and works until stopped; a failed connection is made anew."""
        store: Jobs | None = None
        delay = self._config.workers.retry_s
        while not self.stop.is_set():
            engine = channel = None
            try:
                store = store or self._resume()
                channel = self._open()
                engine = self._make_engine(channel, self._pair)
                delay = self._config.workers.retry_s
                self._serve(
                    store, channel, Pools(channel, engine, self._config.workers, self._metrics, self._log)
                )
            except StoreFault as error:
                self._metrics.count("store_errors")
                self._log.error("store-error", pair=self._pair, detail=str(error))
                self.stop.wait(delay)
                delay = min(2 * delay, self._config.workers.retry_max_s)
            except EXPECTED as error:
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
        if store is not None:
            store.close()

    def _resume(self) -> Jobs:
        store = Jobs(self._config.database)
        freed = store.release(self._pair)
        if freed:
            self._log.info("resumed", pair=self._pair, jobs=freed)
        return store

    def fill(self, kind: str, slots: int) -> dict[str, int]:
        """Makes material until every served model has `slots` slots of an ingest kind; instead of `run`.

        Returns model -> slots at hand. Raises what the link raises; what was made until then is kept.
        """
        channel = self._open()
        engine = self._make_engine(channel, self._pair)
        pools = Pools(channel, engine, self._config.workers, self._metrics, self._log)
        try:
            found = [(n, version) for n, versions in self._models.items() for version in versions.values()]
            return {name: pools.fill(self._load(version), kind, slots) for name, version in found}
        finally:
            engine.close()
            channel.close()

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

    def _serve(self, store: Jobs, channel: Channel, pools: Pools) -> None:
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
                    with Renewal(self._config, self._pair):
                        self._guarded(store, channel, pools, job)
                finally:
                    self.busy = False
                last = time.monotonic()
                continue
            if self._restock(pools):
                last = time.monotonic()
                continue
            if time.monotonic() - last > min(PING_S, self._config.helper.timeout_s / 3):
                channel.send_control(jobs.PING)
                jobs.expect(channel.recv_control(), "pong")
                last = time.monotonic()
            self._wake.wait(IDLE_S)
            self._wake.clear()

    def _restock(self, pools: Pools) -> bool:
        """Makes one batch of material while no picture waits; whether it did."""
        for versions in self._models.values():
            for version in versions.values():
                if pools.restock(self._load(version)):
                    return True
        return False

    def _stale(self) -> bool:
        serving = self._registry.serving()
        return any(
            self._models.get(n, {}).get(h, v) != v for n, vs in serving.items() for h, v in vs.items()
        ) or set(serving) != set(self._models)

    # --- one job

    def _guarded(self, store: Jobs, channel: Channel, pools: Pools, job: Job) -> None:
        try:
            self._job(store, channel, pools, job)
        except jobs.Refused as refusal:
            self._refused(store, job, refusal)
        except BaseException:
            self._later(store, job)
            raise

    def _job(self, store: Jobs, channel: Channel, pools: Pools, job: Job) -> None:
        started = time.monotonic()
        own = job.share
        if own is None:
            version = self._models[job.model][job.plan_hash]
            program = self._load(version)
            own = share_bytes(self._attempt(store, channel, pools, job, program))
            reveal = Reveal.named(program.plan.reveal.mode)
            if not store.put_share(job, self._pair, own, reveal):
                self._log.warning("lease-lost", device=job.device, image=job.image.hex(), attempt=job.attempt)
                return
        channel.send_control(jobs.Seal(job.device, job.image, job.attempt).to_json())
        size = jobs.sealed_length(jobs.expect(channel.recv_control(), "sealed"))
        sealed = channel.recv(size).tobytes()
        if size != sealed_bytes(len(own) // 4):  # more or fewer numbers than this server's own plan reveals
            raise jobs.Refused(FailureCode.MODEL, "the helper's share is not of this plan's reveal mode")
        if store.finish(job, sealed):
            self._metrics.count("pictures_answered")
            self._metrics.seconds("answer_seconds", time.time() - job.accepted)
            self._log.info(
                "answered", device=job.device, image=job.image.hex(), attempt=job.attempt,
                seconds=round(time.monotonic() - started, 3), since_accepted=round(time.time() - job.accepted, 3),
            )  # fmt: skip
        self._due.set()

    def _attempt(self, store: Jobs, channel: Channel, pools: Pools, job: Job, program: Program) -> np.ndarray:
        parsed = manifest.parse(job.manifest)
        kind = ingest_kind(parsed.mode)
        pools.stock(program, kind)
        blocks = store.blocks(job)
        polys, pixels = _split(parsed, blocks)
        slot = pools.engine.next(program, kind)
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
        return pools.engine.run(program, parsed.mode, slot, pixels)

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


def _split(parsed: manifest.Manifest, blocks: list[bytes]) -> tuple[bytes, np.ndarray]:
    """(what goes to the helper, the cloud's ingest share); fresh masks at every call."""
    if parsed.mode is Mode.AES:
        return b"", ciphertext_share(parsed.layout, blocks)
    return mask(parsed.layout, blocks)
