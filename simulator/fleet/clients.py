"""The devices of a fleet on one event loop: each lives its own timetable against the broker, through a network that fails.

A device wakes, connects, sends, waits for receipt and answer, sleeps; one that stays connected keeps its session and comes
back when it is cut off. A cut or lost connection is followed by another, with the same bytes. A picture whose receipt came
is asked for by its manifest, as the firmware does.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from blindsight.client.encrypt import Parcel, encrypt
from blindsight.client.identity import Identity
from blindsight.simulator.fleet.groups import Fleet
from blindsight.simulator.fleet.mqtt import Link, LinkError
from blindsight.simulator.fleet.timetable import Day, Member, Plan
from blindsight.wire import WireError, result, topics

BACKOFF_S, BACKOFF_MOST_S, PATIENCE_S, PATIENCE_MOST_S = 0.5, 8.0, 20.0, 60.0


@dataclass
class Outcome:
    """What came of a picture; times in seconds after the start. `replies`: messages with an answer, repeats too."""

    plan: Plan
    accepted: float | None = None
    answered: float | None = None
    sent: float | None = None
    label: int | None = None
    answers: set[bytes] = field(default_factory=set)
    replies: int = 0
    failure: str = ""

    @property
    def over(self) -> bool:
        """Nothing is to be done for it any more."""
        return self.answered is not None or bool(self.failure)


class Network:
    """Where the broker is, and who is without network when. `links`: the open connections, by device."""

    def __init__(self, fleet: Fleet, day: Day, host: str, port: int, start: float) -> None:
        self._fleet, self._members = fleet, day.members
        self.host, self.port, self.start = host, port, start
        self.links: dict[int, Link] = {}
        self.connections = 0

    @property
    def now(self) -> float:
        """Seconds after the start."""
        return time.monotonic() - self.start

    def out(self, device: int) -> bool:
        """Whether the device is without network."""
        now = self.now
        return any(
            hit and o.at <= now < o.at + o.lasts
            for o, hit in zip(self._fleet.outages, self._members[device].affected, strict=True)
        )

    async def outages(self) -> None:
        """Cuts whom an outage finds connected."""
        for number, outage in sorted(enumerate(self._fleet.outages), key=lambda x: x[1].at):
            await asyncio.sleep(max(0.0, outage.at - self.now))
            for device, link in list(self.links.items()):
                if self._members[device].affected[number]:
                    link.cut()

    async def connect(self, device: int, link: Link, topic: str) -> None:
        """Opens a link, or LinkError."""
        if self.out(device):
            raise LinkError("no network")
        await link.open(self.host, self.port, topic)
        self.links[device] = link
        self.connections += 1
        if self.out(device):  # it began meanwhile
            link.cut()


class Device:
    """One device's life."""

    def __init__(
        self, number: int, member: Member, who: Identity, fleet: Fleet, network: Network, pixels: Sequence[bytes],
        outcomes: list[tuple[int, Outcome]],
    ) -> None:  # fmt: skip
        self.number, self.member, self.who, self.network = number, member, who, network
        self.group = fleet.groups[member.group]
        self.pixels, self.outcomes = pixels, outcomes
        self._topic = f"{topics.base(who.device)}/down/+"
        self._bytes_s = self.group.bandwidth_kbit_s * 125
        self._chance = random.Random(f"backoff/{number}")
        self._link: Link | None = None
        self._parcel: Parcel | None = None
        self._outcome: Outcome | None = None
        self._news = asyncio.Event()

    async def run(self, until: float) -> None:
        """Every picture in turn; a connected device then stays until `until` (or its end)."""
        connected = self.group.sleep == "connected"
        try:
            if connected:  # a street does not switch its doorbells on in one moment
                await self._idle(min(self._chance.uniform(0, 10), until / 4), False)
            for counter, outcome in self.outcomes:
                await self._idle(outcome.plan.at, connected)
                await self._picture(counter, outcome)
                if outcome.plan.dies:
                    return
                if not connected:
                    await self._hang_up()
            if connected:
                await self._idle(min(until, self.member.dies_at or until), True)
        finally:
            await self._hang_up()

    async def _idle(self, at: float, connected: bool) -> None:
        """Sleeps until `at`; with `connected`, the session is kept up meanwhile."""
        while (left := at - self.network.now) > 0:
            if not connected:
                await asyncio.sleep(left)
                continue
            try:
                link = await self._up()
                async with asyncio.timeout(left):
                    await link.ended.wait()
            except TimeoutError:
                return
            except LinkError:
                await asyncio.sleep(min(left, self._chance.uniform(0.5, 1.5)))

    async def _up(self) -> Link:
        if self._link is not None and not self._link.ended.is_set():
            return self._link
        await self._hang_up(orderly=False)
        link = Link(self.who.device, self._message, self._bytes_s)
        await self.network.connect(self.number, link, self._topic)
        self._link = link
        return link

    async def _hang_up(self, orderly: bool = True) -> None:
        link, self._link = self._link, None
        if link is not None:
            self.network.links.pop(self.number, None)
            await link.close(orderly and not link.ended.is_set())

    def _message(self, topic: str, payload: bytes) -> None:
        parcel, outcome = self._parcel, self._outcome
        if parcel is None or outcome is None or topic != topics.down(self.who.device, parcel.image):
            return  # of an earlier picture, once more
        now = self.network.now
        try:
            got = result.parse(payload)
            if isinstance(got, result.Result):
                label = int(parcel.values(got)[0])
                outcome.answers.add(payload)
                outcome.replies += 1
                if outcome.label is None:
                    outcome.label, outcome.answered = label, now
            elif isinstance(got, result.Receipt):
                outcome.accepted = outcome.accepted or now
            else:
                outcome.failure = f"{got}"
        except (WireError, ValueError) as error:
            outcome.failure = f"an answer that does not open: {error}"
        self._news.set()

    async def _picture(self, counter: int, outcome: Outcome) -> None:
        """Until answered or failed; or until the cell is empty, before the last message."""
        plan = outcome.plan
        self._parcel, self._outcome = encrypt(self.who, counter, self.pixels[plan.picture]), outcome
        cut, pause = plan.cut or plan.dies, BACKOFF_S
        while not outcome.over:
            try:
                link = await self._up()
                messages = self._parcel.messages if outcome.accepted is None else self._parcel.messages[-1:]
                whole = not cut
                await self._send(link, messages if whole else messages[:-1])
                if plan.dies:
                    link.cut()
                    return
                if whole:
                    outcome.sent = outcome.sent or self.network.now
                    await self._wait(link, outcome)
                    pause = BACKOFF_S
                else:
                    cut = False
                    link.cut()
                    await asyncio.sleep(plan.away_s)
            except LinkError:
                await self._hang_up(orderly=False)
                await asyncio.sleep(pause * self._chance.uniform(0.5, 1.5))
                pause = min(2 * pause, BACKOFF_MOST_S)

    async def _send(self, link: Link, messages: Sequence[tuple[str, bytes]]) -> None:
        assert self._outcome is not None and self._parcel is not None
        delays = self._outcome.plan.delays
        first = len(self._parcel.messages) - len(messages) if len(messages) == 1 else 0
        for i, (topic, payload) in enumerate(messages):
            await asyncio.sleep(delays[(first + i) % len(delays)])
            await link.publish(topic, payload)

    async def _wait(self, link: Link, outcome: Outcome) -> None:
        """For the answer; what was sent is sent again when it stays away, and LinkError when the link ends."""
        assert self._parcel is not None
        patience = PATIENCE_S
        while not outcome.over:
            self._news.clear()
            news, ended = (asyncio.ensure_future(e.wait()) for e in (self._news, link.ended))
            try:
                await asyncio.wait({news, ended}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                quiet = not (news.done() or ended.done())
            finally:
                news.cancel()
                ended.cancel()
            if outcome.over:
                return
            if link.ended.is_set():
                raise LinkError("cut off")
            if quiet:
                patience = min(2 * patience, PATIENCE_MOST_S)
                await self._send(
                    link, self._parcel.messages if outcome.accepted is None else self._parcel.messages[-1:]
                )


async def drive(
    fleet: Fleet, day: Day, who: Sequence[Identity], pixels: dict[str, list[bytes]], host: str, port: int,
    alongside: Sequence[Callable[[Network, list[Outcome]], Coroutine[Any, Any, None]]] = (),
) -> tuple[list[Outcome], Network]:  # fmt: skip
    """Runs the day; returns when it is over and all is answered or failed, or `timeout_s` after the start. `alongside`:
    coroutine functions that run as long (they watch, or restart the broker); an exception of theirs ends the run.
    """
    network = Network(fleet, day, host, port, time.monotonic())
    outcomes = [Outcome(p) for p in day.plans]
    own: list[list[tuple[int, Outcome]]] = [[] for _ in day.members]
    for i, outcome in enumerate(outcomes):
        own[outcome.plan.device].append((i + 1, outcome))
    devices = [
        Device(i, m, who[i], fleet, network, pixels[fleet.groups[m.group].model], own[i])
        for i, m in enumerate(day.members)
    ]
    lives = [asyncio.create_task(d.run(fleet.seconds)) for d in devices]
    beside = [asyncio.create_task(make(network, outcomes)) for make in (*alongside, _outages)]
    everything: asyncio.Future[Any] = asyncio.gather(*lives)
    try:
        pending: set[asyncio.Future[Any]] = {everything, *beside}
        while everything in pending and (left := fleet.timeout_s - network.now) > 0:
            done, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                ended.result()
    finally:
        for task in (everything, *beside):
            task.cancel()
        await asyncio.gather(everything, *beside, return_exceptions=True)
    return outcomes, network


async def _outages(network: Network, _: list[Outcome]) -> None:
    await network.outages()
