"""The fleet's day: who takes a picture when (seeded), each picture's way to its answer, and what came of it all.

A device wakes, connects, sends, waits for receipt and answer, sleeps. A cut or lost connection is followed by another,
with the same bytes. A picture whose receipt came is asked for by its manifest, as the firmware does.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from blindsight.simulator.fleet.mqtt import Link, LinkError
from blindsight.simulator.fleet.parcel import Identity, Parcel, encrypt
from blindsight.wire import WireError, result, topics


@dataclass(frozen=True)
class Faults:
    """`cut`: part of the pictures whose connection is cut in the middle. `latency_s`: added before every message,
    uniform up to twice that. `offline_s`: how long a cut device stays away at most.
    """

    cut: float = 0.0
    latency_s: float = 0.0
    offline_s: float = 2.0


@dataclass(frozen=True)
class Plan:
    """One picture to be taken: seconds after the start, device, test picture, and its faults, all drawn beforehand."""

    at: float
    device: int
    picture: int
    cut: bool
    away_s: float
    delays: tuple[float, ...]


@dataclass
class Outcome:
    """What came of a picture; times in seconds after the start."""

    plan: Plan
    accepted: float | None = None
    answered: float | None = None
    sent: float | None = None
    label: int | None = None
    answers: set[bytes] = field(default_factory=set)
    failure: str = ""


def schedule(
    seed: int, devices: int, seconds: float, pictures: int, each: int, faults: Faults, messages: int
) -> list[Plan]:
    """`each` pictures a device at seeded, uniform times, in order of time; the same for the same arguments."""
    draw = random.Random(seed)
    out = []
    for device in range(devices):
        for _ in range(each):
            at, picture, cut = draw.uniform(0, seconds), draw.randrange(pictures), draw.random() < faults.cut
            away = draw.uniform(0, faults.offline_s)
            delays = tuple(draw.uniform(0, 2 * faults.latency_s) for _ in range(messages))
            out.append(Plan(at, device, picture, cut, away, delays))
    return sorted(out, key=lambda p: (p.at, p.device))


async def drive(
    plans: Sequence[Plan],
    who: Sequence[Identity],
    pixels: Sequence[bytes],
    host: str,
    port: int,
    timeout_s: float,
) -> list[Outcome]:
    """Runs every plan; returns when all are answered, failed, or `timeout_s` after the start."""
    start = time.monotonic()
    turn = [asyncio.Lock() for _ in who]  # a device has one session
    outcomes = [Outcome(p) for p in plans]

    async def one(number: int, outcome: Outcome) -> None:
        plan = outcome.plan
        await asyncio.sleep(plan.at)
        async with turn[plan.device]:
            parcel = encrypt(who[plan.device], number + 1, pixels[plan.picture])
            await _Picture(parcel, outcome, start, host, port).run()

    tasks = [asyncio.create_task(one(i, o)) for i, o in enumerate(outcomes)]
    _, late = await asyncio.wait(tasks, timeout=timeout_s)
    for task in late:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    for problem in done:
        if isinstance(problem, Exception):
            raise problem
    return outcomes


class _Picture:
    """One picture's way."""

    def __init__(self, parcel: Parcel, outcome: Outcome, start: float, host: str, port: int) -> None:
        self.parcel, self.outcome, self.start, self.host, self.port = parcel, outcome, start, host, port
        self.news = asyncio.Event()
        self.cut = outcome.plan.cut

    def _message(self, topic: str, payload: bytes) -> None:
        if topic != topics.down(self.parcel.who.device, self.parcel.image):
            return  # of an earlier picture, once more
        now = time.monotonic() - self.start
        try:
            got = result.parse(payload)
            if isinstance(got, result.Result):
                label = self.parcel.open(payload)
                self.outcome.answers.add(payload)
                if self.outcome.label is None:
                    self.outcome.label, self.outcome.answered = label, now
            elif isinstance(got, result.Receipt):
                self.outcome.accepted = self.outcome.accepted or now
            else:
                self.outcome.failure = f"{got}"
        except (WireError, ValueError) as error:
            self.outcome.failure = f"an answer that does not open: {error}"
        self.news.set()

    @property
    def over(self) -> bool:
        return self.outcome.answered is not None or bool(self.outcome.failure)

    async def run(self) -> None:
        """Until answered or failed."""
        pause = 0.5
        while not self.over:
            link = Link(self.parcel.who.device, self._message)
            try:
                await link.open(self.host, self.port, f"{topics.base(self.parcel.who.device)}/down/+")
                whole = await self._send(link)
                if whole:
                    await self._wait(link)
                await link.close(orderly=whole)
                if not whole:
                    await asyncio.sleep(self.outcome.plan.away_s)
            except LinkError:
                await link.close(orderly=False)
                await asyncio.sleep(pause)
                pause = min(2 * pause, 8)

    async def _send(self, link: Link) -> bool:
        """Every message, or (once, where the plan says so) not the last: then the connection is to be cut."""
        messages = self.parcel.messages if self.outcome.accepted is None else self.parcel.messages[-1:]
        for i, (topic, payload) in enumerate(messages):
            if self.cut and i == len(messages) - 1:
                self.cut = False
                return False
            await asyncio.sleep(self.outcome.plan.delays[i % len(self.outcome.plan.delays)])
            await link.publish(topic, payload)
        self.outcome.sent = self.outcome.sent or time.monotonic() - self.start
        return True

    async def _wait(self, link: Link) -> None:
        patience = 20.0
        while not self.over:
            self.news.clear()
            try:
                await asyncio.wait_for(self.news.wait(), patience)
            except TimeoutError:
                patience = min(2 * patience, 60)
                await self._send(link)
