"""The cloud service: ingress and worker pairs in one process, stopped gracefully, restarted from its store."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from blindsight.channel import Channel, TlsFiles, tcp_connect, tls_connect
from blindsight.cloud.config import CloudConfig
from blindsight.cloud.ingress import Ingress
from blindsight.cloud.models import ModelError, Registry
from blindsight.cloud.programs import Programs
from blindsight.cloud.store import Pictures
from blindsight.cloud.worker import Loader, MakeEngine, Worker
from blindsight.nn.plan import Plan, PlanError
from blindsight.service.engine import Engine, PairEngine
from blindsight.service.logs import Log
from blindsight.service.metrics import Metrics
from blindsight.service.secretfile import key_password

IDLE_STOP_S = 2.0


class CloudService:
    """Everything the cloud runs. `make_engine` and `load` are replaced in tests alone."""

    def __init__(
        self, config: CloudConfig, make_engine: MakeEngine | None = None, load: Loader | None = None
    ) -> None:
        self._config = config
        if config.helper.key is not None:
            key_password(config.helper.key)  # says now that others can read it
        self.metrics, self._log = Metrics("cloud"), Log("cloud")
        self._registry = Registry(config.models)
        self._wake = threading.Event()
        Pictures(config.database).close()  # makes the file, or says now why it cannot
        self.ingress = (
            Ingress(config, self._plan_of, self._wake, self.metrics, self._log) if config.ingress else None
        )
        due = self.ingress.due if self.ingress else threading.Event()
        self._workers = [
            Worker(
                f"{config.workers.prefix}{i}", config, self._registry, load or Programs(config.workers.threads, self._registry),
                self._connect, make_engine or self._engine, self._wake, due, self.metrics, self._log,
            )
            for i in range(config.workers.count)
        ]  # fmt: skip

    def start(self) -> None:
        """Starts everything and returns."""
        page = self._config.metrics
        if page.port and not self.metrics.serve(page.host, page.port):
            self._log.warning("no-metrics", detail="prometheus-client is not installed")
        if self.ingress:
            self.ingress.start()
        for worker in self._workers:
            worker.start()
        self._log.info("started", models=", ".join(self._registry.names()), workers=len(self._workers))

    def fill(self, kind: str, slots: int) -> dict[str, dict[str, int]]:
        """Makes material for every worker pair, instead of `start`: pair -> model -> slots at hand."""
        return {worker.pair: worker.fill(kind, slots) for worker in self._workers}

    def stop(self, wait_s: float = 30.0) -> None:
        """Lets the jobs at hand finish (at most `wait_s`), publishes what is due, ends. What is left
        resumes later.
        """
        self._log.info("stopping")
        for worker in self._workers:
            worker.stop.set()
        self._wake.set()
        deadline = time.monotonic() + wait_s
        for worker in self._workers:
            while worker.is_alive() and worker.busy and time.monotonic() < deadline:
                worker.join(0.1)
            worker.join(IDLE_STOP_S)  # one that only waits for its helper is not waited for
        if self.ingress:
            self.ingress.stop()
        self.metrics.close()
        self._log.info("stopped")

    def _plan_of(self, name: str, plan_hash: bytes) -> Plan | None:
        try:
            version = self._registry.serving().get(name, {}).get(plan_hash)
            return None if version is None else self._registry.plan(version)
        except (ModelError, PlanError, OSError) as error:
            self._log.error("bad-model", detail=str(error))
            return None

    def _connect(self, hello: dict[str, object]) -> Channel:
        link = self._config.helper
        if link.ca is None or link.certificate is None or link.key is None:
            return tcp_connect(0, link.host, link.port, hello, link.timeout_s)
        files = TlsFiles(link.ca, link.certificate, link.key, link.name, key_password(link.key))
        return tls_connect(0, files, link.host, link.port, hello, link.timeout_s)

    def _engine(self, channel: Channel, pair: str) -> PairEngine:
        return Engine(channel, Path(self._config.data) / "material" / pair, self._config.helper.network)
