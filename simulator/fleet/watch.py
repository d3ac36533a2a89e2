"""Memory and processor time of the processes over a run, from /proc; and whether memory grows."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PAGE, TICK = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
WARM_UP = 0.25  # part of the run in which caches and arenas fill


def read(pid: int) -> tuple[float, float]:
    """(resident MB, processor seconds so far) of a process; zeros when it is gone."""
    try:
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, 0.0
    return resident, (int(fields[11]) + int(fields[12])) / TICK


@dataclass
class Watch:
    """Samples every `every_s`. `pids` gives the processes' numbers, 0 for one that is down."""

    pids: Callable[[], Mapping[str, int]]
    every_s: float = 1.0
    at: list[float] = field(default_factory=list)
    rss: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)

    def sample(self, now: float) -> None:
        """One line of the table."""
        self.at.append(round(now, 2))
        for name, pid in self.pids().items():
            resident, seconds = read(pid)
            self.rss.setdefault(name, []).append(round(resident, 2))
            self.cpu.setdefault(name, []).append(round(seconds, 2))

    async def run(self, now: Callable[[], float]) -> None:
        """Until cancelled."""
        while True:
            self.sample(now())
            await asyncio.sleep(self.every_s)

    def memory(self) -> dict[str, dict[str, float]]:
        """By process: MB at the start, after the warm-up, at the end and at most, and MB a minute after the warm-up (least
        squares).
        """
        warm = self.at[0] + WARM_UP * (self.at[-1] - self.at[0])
        out = {}
        for name, values in self.rss.items():
            late = [(t, v) for t, v in zip(self.at, values, strict=True) if t >= warm and v]
            row = {"start": values[0], "warm": late[0][1] if late else values[-1], "end": values[-1]}
            row |= {"most": max(values), "mb_per_minute": round(60 * slope(late), 4)}
            out[name] = row
        return out

    def load(self) -> dict[str, float]:
        """By process: cores kept busy, over the whole time (a restarted process: since its start)."""
        took = max(self.at[-1] - self.at[0], 1e-9)
        return {n: round(max(0.0, v[-1] - v[0]) / took, 3) for n, v in self.cpu.items()}


def slope(points: list[tuple[float, float]]) -> float:
    """Least squares; 0 for fewer than two points."""
    n = len(points)
    if n < 2:
        return 0.0
    mx, my = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    wide = sum((x - mx) ** 2 for x, _ in points)
    return sum((x - mx) * (y - my) for x, y in points) / wide if wide else 0.0
