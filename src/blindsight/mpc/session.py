"""What a protocol runs in, and how its messages are driven.

A protocol is written as a *flow*: a generator that yields ``(parts, nbytes)``: send these arrays as one message
(nothing when empty), then give me exactly `nbytes` (nothing when zero). Each yield is one flight, so what
belongs to one flight is one frame, and several flows of the same shape can be interleaved: `drive` sends chunk
2 while the peer works on chunk 1. A flow draws all its correlations before its first yield, so that
interleaving never reorders them. Both parties' flows of one protocol have matching flights by construction.

No flow takes randomness of its own: every mask is a correlation, and every correlation is used once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

import numpy as np

from blindsight.channel import Channel
from blindsight.ot.correlations import Correlations, Draw, words

T = TypeVar("T")
U = TypeVar("U")
Parts = list[np.ndarray]
Flow = Generator[tuple[Parts, int], np.ndarray, T]

CHUNK = (
    1 << 16
)  # elements a flow: its correlations fit the second-level cache, and the other party never waits for a whole layer
TOGETHER = 16  # flows interleaved: bounds the memory that messages on their way take
NOTHING = np.empty(0, np.uint8)


@dataclass
class Session:
    """One party's end of a protocol run.

    Attributes:
        channel: to the peer; `channel.party` says who we are.
        correlations: the other half of which the peer draws in the same order.
    """

    channel: Channel
    correlations: Correlations

    @property
    def party(self) -> int:
        """0 for the cloud, 1 for the helper."""
        return self.channel.party


@dataclass
class Pending(Generic[T]):
    """A value between two flights: what is still to be sent, and what is still to be received before it is known.

    Turns alternate where protocols are chained: one party is *ready* (`reads` = 0) and sends `head` with its next message; the other sends
    `head` and finds in the peer's next message, first, the `reads` bytes that `settle` needs.
    """

    settle: Callable[[np.ndarray], T]
    head: Parts = field(default_factory=list)
    reads: int = 0

    @classmethod
    def ready(cls, value: T, head: Parts | None = None) -> Pending[T]:
        """A value that is known."""
        return cls(lambda _: value, head or [])

    def then(self, step: Callable[[T], U]) -> Pending[U]:
        """The same with a local step after it."""
        return Pending(lambda data: step(self.settle(data)), self.head, self.reads)

    def end(self) -> Flow[T]:
        """The last flight of a protocol that ends here."""
        data = yield self.head, self.reads
        return self.settle(data)


def drive(session: Session, flows: Iterable[Flow[T]]) -> list[T]:
    """Run flows to their ends, interleaved in groups of `TOGETHER`; their results in order.

    Flows may differ in length as long as the same party has the first turn in all of them.

    Raises:
        blindsight.channel.ChannelError: the peer vanished, or sent a message of another length.
    """
    results: list[T] = []
    rest = iter(flows)
    while group := _interleave(session, islice(rest, TOGETHER)):
        results += group
    return results


def _interleave(session: Session, flows: Iterable[Flow[T]]) -> list[T]:
    results: dict[int, T] = {}
    waiting: deque[tuple[int, Flow[T], int]] = deque()

    def advance(index: int, flow: Flow[T], data: np.ndarray | None) -> tuple[Parts, int] | None:
        try:
            return next(flow) if data is None else flow.send(data)
        except StopIteration as end:
            results[index] = end.value
            return None

    def send(index: int, flow: Flow[T], step: tuple[Parts, int] | None) -> None:
        if step is None:
            return
        if step[0]:
            session.channel.send(*step[0])
        waiting.append((index, flow, step[1]))

    # All draw before the first message: a source may itself use the channel.
    started = [(index, flow, advance(index, flow, None)) for index, flow in enumerate(flows)]
    for index, flow, step in started:
        send(index, flow, step)
    while waiting:
        index, flow, nbytes = waiting.popleft()
        send(index, flow, advance(index, flow, session.channel.recv(nbytes) if nbytes else NOTHING))
    return [results[i] for i in range(len(results))]


def chunks(n: int, size: int = CHUNK) -> list[slice]:
    """0..n in runs of `size` elements (a multiple of 64), the last one shorter."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def plane_bytes(count: int, n: int) -> int:
    """Bytes of `count` bit vectors of n bits on the wire."""
    return 8 * count * words(n)


def take_planes(data: np.ndarray, counts: Sequence[int], n: int) -> list[np.ndarray]:
    """Cut a received message (`uint8`) into bit vectors: one `uint64` [count, words(n)] for each count."""
    rows = data.view(np.uint64).reshape(-1, words(n))
    ends = np.cumsum(counts)
    return [rows[end - count : end] for count, end in zip(counts, ends, strict=True)]


def draw_both(session: Session, draws: Sequence[Draw]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the same OT in both directions (`draws`: party 0 sends, then party 1): own pads, own choice, the pad received."""
    (a, *b), (c, *d) = (session.correlations.draw(x) for x in draws)
    pads, (choice, got) = (a, (c, *d)) if session.party == 0 else (c, (a, *b))
    return pads, choice, got


def ring_vector(x: np.ndarray, dtype: type[np.generic] = np.uint32) -> np.ndarray:
    """`x` itself, checked to be a C-contiguous vector of `dtype`."""
    if x.dtype != dtype or x.ndim != 1 or not x.flags.c_contiguous:
        raise ValueError(
            f"a share is a contiguous {np.dtype(dtype).name} vector, not {x.dtype.name}{list(x.shape)}: use ravel()"
        )
    return x
