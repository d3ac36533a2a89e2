"""Keeping leases alive while a job runs."""

from __future__ import annotations

import contextlib
import threading

from blindsight.cloud.config import CloudConfig
from blindsight.cloud.jobs import Jobs
from blindsight.service.database import StoreFault


class Renewal:
    """Renews the owner's leases while the block runs, from a connection and thread of its own."""

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
            with contextlib.suppress(StoreFault):  # tried again; a lease that runs out costs a repetition
                store = store or Jobs(self._config.database)
                store.renew(self._owner, seconds)
        if store is not None:
            store.close()
