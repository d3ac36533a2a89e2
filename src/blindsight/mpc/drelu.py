"""F_DReLU(m): shares of [x >= 0] of an m-bit two's complement number.

Realisation: the top bit of x = x0 + x1 mod 2^m is msb(x0) xor msb(x1) xor carry, and carry = [~a < b] for the
low m - 1 bits a, b of the two shares: one comparison. Exact for every pair of shares.

Adversary and leakage: those of the comparison. Source: Rathee et al., "CrypTFlow2" (CCS 2020), section 4.1.
"""

from __future__ import annotations

import numpy as np

import blindsight._native as _native
from blindsight.mpc.compare import Compare, Compared, Drawn, leaves_of
from blindsight.mpc.session import Flow, Pending, Session, drive, ring_vector
from blindsight.ot.correlations import Draw


class DReLU:
    """[x >= 0] on planes of m bits.

    Args:
        m: 2 to 32.
        sender: the party that sends the comparison's leaves.
    """

    def __init__(self, m: int, sender: int = 0) -> None:
        if not 2 <= m <= 32:
            raise ValueError(f"DReLU works on 2 to 32 bits, not {m}")
        self.m = m
        self.compare = Compare(leaves_of(m - 1), sender)

    @property
    def first(self) -> int:
        """The party that knows its share first."""
        return self.compare.first

    def draws(self, n: int) -> list[Draw]:
        """What `draw` consumes."""
        return self.compare.draws(n)

    def draw(self, session: Session, n: int) -> Drawn:
        """Fresh correlations for n numbers."""
        return self.compare.draw(session, n)

    def flow(
        self, session: Session, drawn: Drawn, start: Pending[np.ndarray], tail: int = 0
    ) -> Flow[Compared]:
        """`start`: this party's planes `uint64` [m, W]; `share` of the result is its share of [x >= 0].  `tail` as in `Compare.flow`."""
        top: list[np.ndarray] = []

        def low(planes: np.ndarray) -> np.ndarray:
            top.append(planes[self.m - 1])
            bits = planes[: self.m - 1]
            return ~bits if session.party == self.compare.sender else bits

        end = yield from self.compare.flow(session, drawn, start.then(low), tail)
        end.share = end.share ^ top[0]
        if session.party == 0:
            end.share = ~end.share
        return end

    def run(self, session: Session, x: np.ndarray) -> np.ndarray:
        """A share `uint32` [n] (bits above m are ignored) to a share of the n bits, `uint64` [words(n)]."""
        ring_vector(x)
        return drive(session, [self._whole(session, x)])[0] if len(x) else np.empty(0, np.uint64)

    def _whole(self, session: Session, x: np.ndarray) -> Flow[np.ndarray]:
        drawn = self.draw(session, len(x))
        end = yield from self.flow(session, drawn, Pending.ready(np.asarray(_native.slice_bits(x, self.m))))
        yield end.unsent, 0
        return end.share
