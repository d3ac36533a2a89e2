"""F_AND on xor-shared bits: one bit with w bits.

Realisation: Beaver triples in the form a & (b_1..b_w), made without a message from two random 1-of-2 OTs of
w-bit strings, one each way. Party i's `a` is its random choice as receiver, its `b` the difference of its two
pads as sender; then c = pad 0 xor received pad xor a & b. Two random OTs a gate, whatever w; the openings are 1
+ w bits each way, one flight.

Adversary: semi-honest. What a party receives, the peer's x xor a and y xor b, is uniform: the peer's a is
hidden from the OT's sender, its b from the OT's receiver. Sources: Beaver, "Efficient multiparty protocols
using circuit randomization" (CRYPTO 1991); triples from two random OTs: Asharov, Lindell, Schneider, Zohner
(CCS 2013), section 5.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import blindsight._native as _native
from blindsight.mpc.session import Flow, Session, draw_both, drive, plane_bytes, take_planes
from blindsight.ot.correlations import Draw, bits, words


@dataclass
class AndGate:
    """One party's correlation for one use of x & y, x a bit vector, y w of them."""

    party: int
    a: np.ndarray  # uint64 [W]
    pads: np.ndarray  # uint64 [2, w, W]
    got: np.ndarray  # uint64 [w, W]

    @staticmethod
    def draws(w: int, n: int, count: int = 1) -> list[Draw]:
        """What `draw` consumes."""
        total = 64 * words(n) * count
        return [bits(0, 1, w, total), bits(1, 1, w, total)] if total else []

    @classmethod
    def draw(cls, session: Session, w: int, n: int, count: int = 1) -> list[AndGate]:
        """`count` fresh gates for n-bit vectors."""
        if not count:
            return []
        pads, choice, got = draw_both(session, cls.draws(w, n, count))
        pads, got = pads.reshape(2, w, count, words(n)), got.reshape(w, count, words(n))
        a = choice.reshape(count, words(n))
        return [cls(session.party, a[g], pads[:, :, g], got[:, g]) for g in range(count)]

    def open(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The message for the peer, `uint64` [1 + w, W], from this party's shares x [W] and y [w, W]."""
        return np.asarray(_native.and_open(x, y, self.a, self.pads, self.got))

    def combine(self, mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        """This party's share of x & y, `uint64` [w, W], from both messages."""
        return np.asarray(_native.and_combine(mine, theirs, self.a, self.pads, self.got, self.party == 0))


class And:
    """x & y for a shared bit vector x and w shared bit vectors y, all of n bits."""

    def __init__(self, w: int = 1) -> None:
        self.w = w

    def draws(self, n: int) -> list[Draw]:
        """The correlations `run` consumes, in order."""
        return AndGate.draws(self.w, n)

    def flow(self, session: Session, x: np.ndarray, y: np.ndarray, n: int) -> Flow[np.ndarray]:
        """One flight, both ways at once."""
        (gate,) = AndGate.draw(session, self.w, n)
        mine = gate.open(x, y)
        data = yield [mine], plane_bytes(1 + self.w, n)
        return gate.combine(mine, *take_planes(data, [1 + self.w], n))

    def run(self, session: Session, x: np.ndarray, y: np.ndarray, n: int) -> np.ndarray:
        """Shares x `uint64` [words(n)], y `uint64` [w, words(n)]; returns a share of x & y like y.  Nothing is learned."""
        if not n:
            return y.copy()
        return drive(session, [self.flow(session, x, y, n)])[0]
