"""The helper service: listens for the cloud's workers, one thread a connection. It has no broker account,
by design.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blindsight.channel import Channel, ChannelError
from blindsight.helper.acceptor import Acceptor
from blindsight.helper.config import HelperConfig
from blindsight.helper.keys import KeyFault, Keys, read_master
from blindsight.helper.plans import Plans
from blindsight.helper.programs import Programs
from blindsight.helper.store import Store
from blindsight.helper.worker import Load, Shares, Worker
from blindsight.nn.plan import PlanError
from blindsight.offline.store import StoreError
from blindsight.service.database import StoreFault
from blindsight.service.engine import Engine, PairEngine
from blindsight.service.logs import Log
from blindsight.service.metrics import Metrics
from blindsight.wire import WireError, jobs

MakeEngine = Callable[[Channel, str], PairEngine]
HANDOVER_S = 30.0


class HelperService:
    """Everything the helper runs. `make_engine` and `load` are replaced in tests alone."""

    def __init__(
        self, config: HelperConfig, make_engine: MakeEngine | None = None, load: Load | None = None
    ) -> None:
        self._config = config
        self.metrics, self._log = Metrics("helper"), Log("helper")
        self._master = read_master(config.master)
        self._plans = Plans(config.plans)
        self._plans.serving()
        if self._plans.faults:  # at the start a wrong file is an error; later it is left out and logged
            raise PlanError(self._plans.faults[0])
        self._shares = Shares(config.limits.shares_in_memory)
        self._make_engine = make_engine or self._engine
        self._load = load
        self._acceptor = Acceptor(config.listen, self._hello, self._connection, self.metrics, self._log)
        self.address = self._acceptor.address
        self._stop = threading.Event()
        self._pairs: dict[str, threading.Lock] = {}
        self._pairs_lock = threading.Lock()

    def start(self) -> None:
        """Starts listening and returns."""
        page = self._config.metrics
        if page.port and not self.metrics.serve(page.host, page.port):
            self._log.warning("no-metrics", detail="prometheus-client is not installed")
        self._acceptor.start()
        self._log.info("started", port=self.address[1], models=", ".join(self._plans.serving()))

    def stop(self) -> None:
        """Stops listening. An answer under way is either sealed durably or will be run again."""
        self._log.info("stopping")
        self._stop.set()
        self._acceptor.stop()
        self.metrics.close()
        self._log.info("stopped")

    def _engine(self, channel: Channel, pair: str) -> PairEngine:
        return Engine(channel, Path(self._config.data) / "material" / pair, self._config.listen.network)

    def _hello(self) -> dict[str, Any]:
        serving = self._plans.serving()
        for fault in self._plans.faults:
            self._log.error("bad-plan", detail=fault)
        return jobs.hello({name: list(plans) for name, plans in serving.items()})

    def _connection(self, channel: Channel) -> None:
        try:
            self._serve(channel)
        except (ChannelError, WireError, StoreError, StoreFault, KeyFault, PlanError) as error:
            self._log.info("connection-ended", detail=str(error))
        except Exception:
            self.metrics.count("worker_errors")
            self._log.error("worker-error", exc_info=True)

    def _serve(self, channel: Channel) -> None:
        pair = jobs.pair_of(channel.peer)
        with self._pairs_lock:
            lock = self._pairs.setdefault(pair, threading.Lock())
        if not lock.acquire(timeout=HANDOVER_S):
            raise WireError(f"pair {pair} is still served on another connection")
        key_store = store = engine = None
        try:
            engine = self._make_engine(channel, pair)
            key_store = Keys(self._master, self._config.database, self._config.master)
            store = Store(self._config.database)
            load = self._load or Programs(self._config.threads, self._plans)
            worker = Worker(
                channel, engine, self._config, self._plans, key_store, store, self._shares, load, self.metrics,
                self._log,
            )  # fmt: skip
            self._log.info("cloud-connected", pair=pair)
            worker.serve(self._stop)
        finally:
            for part in (engine, key_store, store):
                if part is not None:
                    part.close()
            lock.release()
