"""What a broker carries: publishers at full speed to one subscriber at QoS 1, and the memory of idle connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from blindsight.simulator.fleet.mqtt import Link

SETTLE_S = 0.5


@dataclass(frozen=True)
class Load:
    """`messages` of `size` bytes went in and out again within `seconds`; the broker took `cpu_s` for it. `connection_kb`:
    its resident memory for a connection with a session and a subscription.
    """

    messages: int
    size: int
    seconds: float
    cpu_s: float
    connection_kb: float

    @property
    def messages_s(self) -> float:
        """In and out together, as measured here, clients beside it."""
        return 2 * self.messages / self.seconds

    @property
    def messages_core_s(self) -> float:
        """In and out together, that one core carries: from the broker's own processor time."""
        return 2 * self.messages / self.cpu_s


async def broker_load(
    host: str, port: int, usage: Callable[[], tuple[float, float]], size: int = 3840, publishers: int = 20,
    seconds: float = 5.0, idle: int = 500,
) -> Load:  # fmt: skip
    """`usage` gives (resident MB, processor seconds) of the broker."""
    came = 0

    def count(_topic: str, _payload: bytes) -> None:
        nonlocal came
        came += 1

    before = usage()[0]
    sitting = [Link(f"idle-{i}", lambda *_: None) for i in range(idle)]
    for some in range(0, idle, 50):
        await asyncio.gather(*(k.open(host, port, f"nothing/{k}/+") for k in sitting[some : some + 50]))
    await asyncio.sleep(SETTLE_S)
    held = (usage()[0] - before) * 1e3 / max(1, idle)
    reader = Link("reader", count)
    await reader.open(host, port, "load/+")
    links = [Link(f"load-{i}", lambda *_: None) for i in range(publishers)]
    await asyncio.gather(*(k.open(host, port, f"none/{i}") for i, k in enumerate(links)))
    payload, spent, start = bytes(size), usage()[1], time.monotonic()

    async def publish(number: int, link: Link) -> int:
        sent = 0
        while time.monotonic() - start < seconds:
            await link.publish(f"load/{number}", payload)
            sent += 1
        return sent

    sent = sum(await asyncio.gather(*(publish(i, k) for i, k in enumerate(links))))
    deadline = time.monotonic() + 20
    while came < sent and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    took, spent = time.monotonic() - start, usage()[1] - spent
    await asyncio.gather(*(k.close() for k in (reader, *links, *sitting)))
    if came < sent:
        raise RuntimeError(f"the broker delivered {came} of {sent} messages")
    return Load(sent, size, took, max(spent, 1e-3), held)
