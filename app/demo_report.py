"""What a demonstration is asked, and what happened in it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blindsight.app.tap import Tap


@dataclass
class Options:
    """What the command line says."""

    model: str = "mnist"
    images: int = 20
    ingest: str = "rlwe"
    broker: str = "embedded"
    micropython: str = ""
    devices: int = 2
    timeout_s: float = 170.0
    keep: Path | None = None
    broker_ca: Path | None = None
    test_pictures: Path | None = None  # None: those of the zoo model


@dataclass
class Picture:
    """One picture's way. Times are of the monotonic clock; `label`s are class indices."""

    number: int
    true: int | None
    expected: int
    device: str = ""
    image: str = ""
    got: int | None = None
    failure: str = ""
    captured: float = 0.0
    answered: float = 0.0
    bytes_up: int = 0

    @property
    def latency(self) -> float:
        """Seconds from capture to the label on the device."""
        return self.answered - self.captured


@dataclass
class Report:
    """What happened."""

    labels: tuple[str, ...]
    pictures: list[Picture]
    heap: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    tap: Tap | None = None

    @property
    def answered(self) -> list[Picture]:
        return [p for p in self.pictures if p.got is not None]

    @property
    def good(self) -> bool:
        """Every picture answered, every answer the float network's."""
        return all(p.got == p.expected for p in self.pictures)

    def to_json(self, options: Options) -> dict[str, Any]:
        """The object of DESIGN section 9."""
        done = self.answered
        times = sorted(p.latency for p in done)
        known = [p for p in done if p.true is not None]
        return {
            "model": options.model,
            "ingest": options.ingest,
            "broker": options.broker,
            "devices": options.devices,
            "pictures": len(self.pictures),
            "answered": len(done),
            "agree": sum(p.got == p.expected for p in done),
            "correct": sum(p.got == p.true for p in known) if known else None,
            "latency_s": {"p50": _quantile(times, 0.5), "p95": _quantile(times, 0.95)},
            "bytes_up": statistics.mean(p.bytes_up for p in done) if done else None,
            "device_heap_bytes": self.heap,
            "seconds": {k: round(v, 3) for k, v in self.seconds.items()},
        }


def _quantile(times: list[float], q: float) -> float | None:
    return round(times[min(len(times) - 1, int(q * len(times)))], 4) if times else None
