"""A graceful stop: SIGTERM and SIGINT set an event that every loop watches."""

from __future__ import annotations

import os
import signal
import sys
import threading


def on_signals() -> threading.Event:
    """An event that SIGTERM or SIGINT sets. Call from the main thread."""
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    return stop


def leave(code: int) -> int:
    """Call last, with everything durable. Where a thread is still inside native code or waits for a peer, the
    process ends here: the interpreter's own end would tear such a thread out of native frames and abort.
    """
    if any(t is not threading.main_thread() and t.is_alive() for t in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
