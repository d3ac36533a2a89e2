"""Counters, gauges and timings, for Prometheus where its client is installed. Labels never hold device or
image ids.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import Any

try:
    import prometheus_client as prometheus
except ImportError:  # pragma: no cover - the client is optional
    prometheus = None


class Metrics:
    """`metrics.count("refused", reason="hmac")`; names get the prefix `blindsight_<service>_`. Thread-safe.

    `value(name, **labels)` reads a counter or gauge back, with or without Prometheus.
    """

    def __init__(self, service: str) -> None:
        self._prefix = f"blindsight_{service}_"
        self._values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = defaultdict(float)
        self._lock = threading.Lock()
        self._families: dict[str, Any] = {}
        self._registry = prometheus.CollectorRegistry() if prometheus else None
        if prometheus:
            prometheus.ProcessCollector(registry=self._registry)  # memory, files, processor time
        self._server: Any = None

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        """Adds to a counter."""
        with self._lock:
            self._values[name, tuple(sorted(labels.items()))] += by
            if prometheus:
                self._family("Counter", name, labels).inc(by)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Sets a gauge."""
        with self._lock:
            self._values[name, tuple(sorted(labels.items()))] = value
            if prometheus:
                self._family("Gauge", name, labels).set(value)

    def seconds(self, name: str, value: float, **labels: str) -> None:
        """One observation of a duration."""
        with self._lock:
            self._values[name, tuple(sorted(labels.items()))] = value
            if prometheus:
                self._family("Histogram", name, labels).observe(value)

    def value(self, name: str, **labels: str) -> float:
        """The counter's, the gauge's or the last timing's value; 0 before the first."""
        with self._lock:
            return self._values[name, tuple(sorted(labels.items()))]

    def serve(self, host: str, port: int) -> bool:
        """Starts the /metrics page; False where prometheus-client is not installed."""
        if not prometheus:
            return False
        self._server, _ = prometheus.start_http_server(port, host, self._registry)
        return True

    def close(self) -> None:
        """Stops the page."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def _family(self, kind: str, name: str, labels: dict[str, str]) -> Any:
        if name not in self._families:
            options = (
                {"buckets": (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)} if kind == "Histogram" else {}
            )
            self._families[name] = getattr(prometheus, kind)(
                self._prefix + name,
                name.replace("_", " "),
                sorted(labels),
                registry=self._registry,
                **options,
            )
        family = self._families[name]
        return family.labels(**labels) if labels else family
