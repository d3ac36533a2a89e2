"""A graceful stop: SIGTERM and SIGINT set an event that every loop watches."""

from __future__ import annotations

import signal
import threading


def on_signals() -> threading.Event:
    """An event that SIGTERM or SIGINT sets. Call from the main thread."""
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    return stop
