"""F_ReLU(f, m): truncate, max(x, 0), back to 32 bits.

Realisation: F_TR(f) to m bits, F_DReLU(m), F_MUX mod 2^m, F_EXT to 32. At m = 16: 24 random OTs and 21.1 bytes
online an element, six flights: (receiver: corrections) (sender: leaves, openings) (openings) (openings,
multiplexer) (multiplexer, top bit) (extension).

Valid inputs: -2^(m-1+f) <= x < 2^(m-1+f) - 2^f (signed, E included), m + f <= 32. Nothing is learned: every
message is uniform to its reader (see compare, mux, product).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blindsight.mpc.compare import Drawn
from blindsight.mpc.drelu import DReLU
from blindsight.mpc.extend import Extend
from blindsight.mpc.mux import MuxGate, choose
from blindsight.mpc.product import Product
from blindsight.mpc.session import Flow, Pending, Session, chunks, drive, ring_vector
from blindsight.mpc.trunc import check_widths, truncate
from blindsight.ot.correlations import Draw


@dataclass
class PositiveDrawn:
    """One party's correlations for one `Positive`."""

    sign: Drawn
    mux: MuxGate
    extend: Product | None


class Positive:
    """max(z, 0) of m-bit shares, extended to 32 bits."""

    def __init__(self, m: int, sender: int) -> None:
        self.m = m
        self.drelu = DReLU(m, sender)
        self.extend = Extend(
            m, sender=self.drelu.first
        )  # the other party knows the multiplexer's output first

    def draws(self, n: int) -> list[Draw]:
        """What `draw` consumes."""
        return self.drelu.draws(n) + MuxGate.draws(self.m, n) + self.extend.draws(n)

    def draw(self, session: Session, n: int) -> PositiveDrawn:
        """Fresh correlations for n numbers."""
        return PositiveDrawn(
            self.drelu.draw(session, n), MuxGate.draw(session, self.m, n), self.extend.draw(session, n)
        )

    def flow(
        self, session: Session, drawn: PositiveDrawn, start: Pending[tuple[np.ndarray, np.ndarray]]
    ) -> Flow[np.ndarray]:
        """`start`: shares `uint32` [n] below 2^m and their planes; the party that is not `sender` is ready."""
        value: list[np.ndarray] = []

        def planes(both: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
            value.append(both[0])
            return both[1]

        tail = MuxGate.nbytes(self.m, drawn.sign.n)
        sign = yield from self.drelu.flow(session, drawn.sign, start.then(planes), tail)
        chosen = choose(sign, [drawn.mux], value)
        return (yield from self.extend.flow(drawn.extend, chosen.then(lambda y: y[0])))


class ReLU:
    """max(F_TR(f)(x), 0) as shares mod 2^32; at most 2^(m-1) - 1."""

    def __init__(self, f: int, m: int) -> None:
        check_widths(f, m)
        self.f, self.m = f, m
        self.positive = Positive(m, sender=0)

    def draws(self, n: int) -> list[Draw]:
        """The correlations `run` consumes, in order."""
        return [d for c in chunks(n) for d in self.positive.draws(c.stop - c.start)]

    def flow(self, session: Session, x: np.ndarray) -> Flow[np.ndarray]:
        """As `run` for one chunk."""
        z, planes = truncate(x, self.f, self.m, session.party)
        drawn = self.positive.draw(session, len(x))
        return (yield from self.positive.flow(session, drawn, Pending.ready((z, planes))))

    def run(self, session: Session, x: np.ndarray) -> np.ndarray:
        """A share `uint32` [n] to a share `uint32` [n]."""
        ring_vector(x)
        parts = drive(session, (self.flow(session, x[c]) for c in chunks(len(x))))
        return np.concatenate([np.empty(0, np.uint32), *parts])
