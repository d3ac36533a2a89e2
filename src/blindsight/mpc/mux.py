"""F_MUX(m): shares of b * x mod 2^m from an xor-shared bit b and an additively shared x.

Realisation: multiply by a random bit first. Party i's random OT choice r_i is its share of r = r_0 xor r_1, and
r * x = sum of r_i x_i + r_j (1 - 2 r_i) x_i: two correlated OTs whose receiver needs no correction, because its
choice *is* r_j. Then t = b xor r is opened, and b * x = t ? x - r x : r x is local. Each party sends 1 + m
bits, all in one flight.

Adversary: semi-honest. A party receives t_j = b_j xor r_j, masked by the peer's choice, and pads0 + (1 - 2 r_j)
x_j - pads1, masked by the pad it does not know: uniform. Sources: correlated OT as in Asharov et al. (CCS
2013); multiplexer of Rathee et al., "CrypTFlow2" (CCS 2020), section 3.1.4, moved to a random bit so that no
correction precedes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

import blindsight._native as _native
from blindsight.mpc.compare import Compared
from blindsight.mpc.session import (
    Flow,
    Pending,
    Session,
    draw_both,
    drive,
    plane_bytes,
    ring_vector,
    take_planes,
)
from blindsight.ot.correlations import Draw, ints


@dataclass
class MuxGate:
    """One party's correlation for one use of the multiplexer, then its message."""

    m: int
    pads: np.ndarray  # uint32 [2, n]
    choice: np.ndarray  # uint64 [W]
    got: np.ndarray  # uint32 [n]
    _x: np.ndarray = field(init=False)
    _mine: np.ndarray = field(init=False)

    @staticmethod
    def draws(m: int, n: int) -> list[Draw]:
        """What `draw` consumes."""
        return [ints(0, 1, m, n), ints(1, 1, m, n)] if n else []

    @staticmethod
    def nbytes(m: int, n: int) -> int:
        """Length of the message each way."""
        return plane_bytes(1 + m, n)

    @classmethod
    def draw(cls, session: Session, m: int, n: int) -> MuxGate:
        """A fresh gate."""
        pads, choice, got = draw_both(session, cls.draws(m, n))
        return cls(m, pads, choice[0], got)

    def offer(self, bit: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The message for the peer, `uint64` [1 + m, W], from shares of the bit (`uint64` [W]) and of x (`uint32` [n])."""
        self._x = x
        self._mine = np.asarray(_native.mux_offer(bit, x, self.pads, self.choice, self.m))
        return self._mine

    def finish(self, message: np.ndarray) -> np.ndarray:
        """This party's share of bit * x, `uint32` [n] below 2^m, from the peer's message (`uint8`)."""
        (theirs,) = take_planes(message, [1 + self.m], len(self._x))
        return np.asarray(_native.mux_finish(self._mine, theirs, self._x, self.pads, self.choice, self.got))


def choose(sign: Compared, gates: list[MuxGate], values: list[np.ndarray]) -> Pending[list[np.ndarray]]:
    """Multiply each of `values` by the bit of a comparison that ended with `tail` = the gates' messages."""
    offers = [gate.offer(sign.share, x) for gate, x in zip(gates, values, strict=True)]
    ends = np.cumsum([offer.nbytes for offer in offers])

    def finish(data: np.ndarray) -> list[np.ndarray]:
        return [g.finish(data[end - o.nbytes : end]) for g, o, end in zip(gates, offers, ends, strict=True)]

    if sign.first:
        return Pending(finish, [*sign.unsent, *offers], int(ends[-1]))
    return Pending.ready(finish(sign.tail), list(offers))


class Mux:
    """b * x mod 2^m; one flight."""

    def __init__(self, m: int) -> None:
        if not 1 <= m <= 32:
            raise ValueError(f"a multiplexer works on 1 to 32 bits, not {m}")
        self.m = m

    def draws(self, n: int) -> list[Draw]:
        """The correlations `run` consumes, in order."""
        return MuxGate.draws(self.m, n)

    def flow(self, session: Session, bit: np.ndarray, x: np.ndarray) -> Flow[np.ndarray]:
        """As `run`, as a flow."""
        gate = MuxGate.draw(session, self.m, len(x))
        data = yield [gate.offer(bit, x)], MuxGate.nbytes(self.m, len(x))
        return gate.finish(data)

    def run(self, session: Session, bit: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Shares of the bits `uint64` [words(n)] and of x `uint32` [n]; returns a share `uint32` [n] below 2^m."""
        ring_vector(x)
        return drive(session, [self.flow(session, bit, x)])[0] if len(x) else x.copy()
