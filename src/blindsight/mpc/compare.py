"""F_CMP, the millionaires' comparison: shares of [a < b], a known to one party, b to the other.

Realisation: the numbers are cut into leaves of at most 4 bits. For every leaf the party that holds a (the
*sender*) offers, by a 1-of-16 OT, its shares of (lt, eq) = ([a' < j], [a' = j]) for each j, and the receiver
takes j = b'. The lowest leaf needs lt alone. A tree of ANDs joins neighbours: lt = lt_high xor eq_high &
lt_low, eq = eq_high & eq_low; both share eq_high, so a node is one `AndGate`. The OT is random and corrected
online: the receiver sends b' xor its random choice, the sender permutes its pads by it. The sender takes the
pad of message 0 for its share, so that message 0 is zero and stays at home.

Flights (turns alternate, so that openings ride on the message before): receiver: corrections; sender: leaves +
its first opening; receiver: first + second opening; and so on. `first` knows the result one flight before the
other; the openings it has not sent yet come back as `unsent`, to travel with what the caller sends next, whose
length the other party names as `tail`.

Adversary: semi-honest. The sender sees uniform corrections and openings; the receiver sees 2^k - 1 messages of
which all but one are under pads it does not know and that one under the sender's fresh share. Leakage: none.
Sources: Garay, Schoenmakers, Villegas (PKC 2007); Rathee et al., "CrypTFlow2" (CCS 2020), section 3.1; OT
derandomised as Beaver (CRYPTO 1995).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

import blindsight._native as _native
from blindsight.mpc.bits import AndGate
from blindsight.mpc.session import (
    NOTHING,
    Flow,
    Parts,
    Pending,
    Session,
    drive,
    plane_bytes,
    ring_vector,
    take_planes,
)
from blindsight.ot.correlations import Draw, bits

LEAF = 4


def leaves_of(width: int) -> tuple[int, ...]:
    """Leaf widths, lowest first: fours, and the rest on top."""
    if width < 1:
        raise ValueError(f"a comparison has at least one bit, not {width}")
    return (LEAF,) * (width // LEAF) + ((width % LEAF,) if width % LEAF else ())


@dataclass
class Compared:
    """One party's end of a comparison.

    Attributes:
        share: of [a < b], `uint64` [W].
        low: share of [a' < b'] of the lowest leaf.
        first: this party knows its result before the peer does, and sends next.
        unsent: what `first` still has to send, ahead of the caller's own message.
        tail: what the peer sent after its last opening; empty for `first`.
    """

    share: np.ndarray
    low: np.ndarray
    first: bool
    unsent: Parts = field(default_factory=list)
    tail: np.ndarray = field(default_factory=lambda: NOTHING)


@dataclass
class Drawn:
    """One party's correlations for one comparison of n numbers."""

    n: int
    leaves: list[tuple[np.ndarray, ...]]
    narrow: list[AndGate]
    wide: list[AndGate]


class Compare:
    """[a < b] of unsigned numbers of `sum(leaves)` bits given as planes.

    Args:
        leaves: widths 1 to 4, lowest first.
        sender: the party that holds a.
    """

    def __init__(self, leaves: tuple[int, ...], sender: int) -> None:
        self.leaves, self.sender = leaves, sender
        self.receiver = 1 - sender
        self.width = sum(leaves)
        self._w = [1] + [2] * (len(leaves) - 1)  # message bits of each leaf
        sizes = [len(leaves)]
        while sizes[-1] > 1:
            sizes.append((sizes[-1] + 1) // 2)
        self._pairs = [
            size // 2 for size in sizes[:-1]
        ]  # gates a level; the first of each has w = 1, the rest w = 2
        self.depth = len(self._pairs)
        # After the leaves the receiver holds both first openings; from there the two take turns.
        self.first = self.receiver if self.depth == 0 or self.depth % 2 else sender

    def draws(self, n: int) -> list[Draw]:
        """What `draw` consumes."""
        if not n:
            return []
        leaves = [bits(self.sender, k, w, n) for k, w in zip(self.leaves, self._w, strict=True)]
        return leaves + AndGate.draws(1, n, self.depth) + AndGate.draws(2, n, sum(self._pairs) - self.depth)

    def draw(self, session: Session, n: int) -> Drawn:
        """Fresh correlations for n numbers."""
        leaves = [session.correlations.draw(d) for d in self.draws(n)[: len(self.leaves)]]
        narrow = AndGate.draw(session, 1, n, self.depth)
        return Drawn(n, leaves, narrow, AndGate.draw(session, 2, n, sum(self._pairs) - self.depth))

    def _opening(self, level: int) -> int:
        """Planes of one party's openings of a level."""
        return 2 + 3 * (self._pairs[level] - 1)

    def _digits(self, planes: np.ndarray) -> list[np.ndarray]:
        starts = accumulate(self.leaves, initial=0)
        return [planes[s : s + k] for s, k in zip(starts, self.leaves, strict=False)]

    def flow(
        self, session: Session, drawn: Drawn, start: Pending[np.ndarray], tail: int = 0
    ) -> Flow[Compared]:
        """Compare.

        Args:
            drawn: from `draw`.
            start: this party's a or b, `uint64` [width, words(n)]; the receiver's is ready.
            tail: bytes that the caller of the party that is `first` sends along with `unsent`.
        """
        n, wide = drawn.n, drawn.wide
        if session.party == self.sender:
            data = yield start.head, start.reads + plane_bytes(self.width, n)
            digits = self._digits(start.settle(data[: start.reads]))
            corrections = take_planes(data[start.reads :], list(self.leaves), n)
            values, out = _send_leaves(digits, corrections, [pads for (pads,) in drawn.leaves])
            peer = None
        else:
            assert start.reads == 0, "the receiver of a comparison is ready"
            digits = self._digits(start.settle(NOTHING))
            corrections = [digit ^ choice for digit, (choice, _) in zip(digits, drawn.leaves, strict=True)]
            counts = [((1 << k) - 1) * w for k, w in zip(self.leaves, self._w, strict=True)]
            sizes = [sum(counts)] + ([self._opening(0)] if self.depth else [])
            data = yield [*start.head, *corrections], plane_bytes(sum(sizes), n)
            messages, *rest = take_planes(data, sizes, n)
            values = _take_leaves(
                digits, [pad for _, pad in drawn.leaves], np.split(messages, np.cumsum(counts)[:-1])
            )
            peer, out = (rest[0] if rest else None), []
        low = values[0][0]
        end = Compared(low, low, session.party == self.first)
        for level in range(self.depth):
            gates, wide = (
                [drawn.narrow[level], *wide[: self._pairs[level] - 1]],
                wide[self._pairs[level] - 1 :],
            )
            mine = _open(gates, values)
            out += mine
            after: np.ndarray | None = None
            if peer is None:
                size = plane_bytes(self._opening(level), n)
                extra = plane_bytes(self._opening(level + 1), n) if level + 1 < self.depth else tail
                data = yield out, size + extra
                out = []
                (peer,) = take_planes(data[:size], [self._opening(level)], n)
                if level + 1 < self.depth:
                    (after,) = take_planes(data[size:], [self._opening(level + 1)], n)
                else:
                    end.tail = data[size:]
            values = _combine(gates, values, mine, peer)
            peer = after
        if self.depth == 0 and session.party == self.sender:
            end.tail = yield out, tail
            out = []
        end.share, end.unsent = values[0][0], out
        return end

    def run(self, session: Session, value: np.ndarray) -> np.ndarray:
        """This party's a or b, `uint32` [n], to its share of the n bits [a < b], `uint64` [words(n)]."""
        ring_vector(value)
        return drive(session, [self._whole(session, value)])[0] if len(value) else np.empty(0, np.uint64)

    def _whole(self, session: Session, value: np.ndarray) -> Flow[np.ndarray]:
        drawn = self.draw(session, len(value))
        end = yield from self.flow(
            session, drawn, Pending.ready(np.asarray(_native.slice_bits(value, self.width)))
        )
        yield end.unsent, 0
        return end.share


def _send_leaves(
    digits: list[np.ndarray], corrections: list[np.ndarray], pads: list[np.ndarray]
) -> tuple[list[np.ndarray], Parts]:
    values, out = [], []
    for digit, correction, pad in zip(digits, corrections, pads, strict=True):
        message = np.empty((pad.shape[0] - 1, *pad.shape[1:]), np.uint64)
        values.append(np.asarray(_native.leaf_messages(digit, correction, pad, message)))
        out.append(message)
    return values, out


def _take_leaves(
    digits: list[np.ndarray], pads: list[np.ndarray], messages: list[np.ndarray]
) -> list[np.ndarray]:
    return [
        np.asarray(_native.leaf_select(digit, pad, message.reshape(-1, *pad.shape)))
        for digit, pad, message in zip(digits, pads, messages, strict=True)
    ]


def _open(gates: list[AndGate], values: list[np.ndarray]) -> Parts:
    """Openings of eq_high & (lt_low, eq_low) for each pair of neighbours; the lowest node has no eq."""
    return [gate.open(values[2 * i + 1][1], values[2 * i]) for i, gate in enumerate(gates)]


def _combine(
    gates: list[AndGate], values: list[np.ndarray], mine: Parts, theirs: np.ndarray
) -> list[np.ndarray]:
    joined, row = [], 0
    for i, (gate, own) in enumerate(zip(gates, mine, strict=True)):
        value = gate.combine(own, theirs[row : row + len(own)])
        value[0] ^= values[2 * i + 1][0]
        joined.append(value)
        row += len(own)
    return joined + values[2 * len(gates) :]
