"""Pictures on their way and what happened to them, for as many browsers as look."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Any

import numpy as np

from blindsight.app.web_stage import MODES, Stage
from blindsight.app.web_views import Views
from blindsight.errors import OneLine, quoted
from blindsight.nn import floatnet

KEPT = 8


class Run:
    """One picture's events, in order; ends with `end` or `error`."""

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []
        self._ended = False
        self._news = threading.Condition()

    def say(self, event: dict[str, Any], last: bool = False) -> None:
        """Adds an event."""
        with self._news:
            self._events.append(event)
            self._ended = self._ended or last
            self._news.notify_all()

    def after(self, at: int, seconds: float) -> tuple[list[dict[str, Any]], bool]:
        """The events from number `at` on, waiting for the next one at most so long, and whether the way has ended."""
        with self._news:
            if len(self._events) <= at and not self._ended:
                self._news.wait(seconds)
            return self._events[at:], self._ended


class Runs:
    """The last pictures of this stage, one of them at a time on its way."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._count = 0
        self._busy = threading.Lock()

    def get(self, number: str) -> Run | None:
        """The run of that number."""
        return self._runs.get(number)

    def begin(self, model: str, mode: str, pixels: np.ndarray) -> str | None:
        """Sends a picture (uint8 (H, W, C)) on its way; the run's number, None while another one is under way."""
        if mode not in MODES:
            raise ValueError(f"ingest is one of {', '.join(MODES)}")
        if not self._busy.acquire(blocking=False):
            return None
        self._count += 1
        number, run = str(self._count), Run()
        self._runs[number] = run
        while len(self._runs) > KEPT:
            self._runs.popitem(last=False)
        threading.Thread(target=self._go, args=(run, model, mode, pixels), daemon=True).start()
        return number

    def _go(self, run: Run, model: str, mode: str, pixels: np.ndarray) -> None:
        served = self._stage.served[model]
        plan = served.model.plan
        views = Views(pixels, 0 if plan.reveal.mode in ("top1", "topk") else plan.result_scale)
        began = time.time()
        try:
            logits = floatnet.forward(served.model.graph, pixels[None])[0]
            expected = int(logits.argmax())
            run.say(
                {"event": "begin", "who": "owner", "t": began, "model": model, "ingest": mode, "expected": expected,
                 "expected_label": served.labels[expected]}
            )  # fmt: skip

            def say(event: dict[str, Any]) -> None:
                for shown in views.page(event):
                    run.say(shown)

            self._stage.classify(model, mode, pixels, say)
            run.say({"event": "end", "who": "owner", "t": time.time()}, last=True)
        except Exception as error:
            run.say(
                {"event": "error", "who": "owner", "t": time.time(), "why": quoted(error, OneLine.LIMIT)},
                last=True,
            )
            if not type(error).__module__.startswith("blindsight."):
                raise
        finally:
            self._busy.release()
