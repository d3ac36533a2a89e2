"""F_Clip: truncate, then min(max(x, low), high), with public bounds; ReLU6 is one.

Realisation: low + [x >= low] (x - low) - [x >= high] (x - high): two comparisons side by side and two
multiplexers, six flights with the extension.
Valid inputs: as ReLU, -2^(m-1+f) <= x < 2^(m-1+f) - 2^f; m + f <= 31 (one spare bit, so that x - bound fits).
Adversary and leakage: those of DReLU, MUX and EXT.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import blindsight._native as _native
from blindsight.mpc.compare import Drawn
from blindsight.mpc.drelu import DReLU
from blindsight.mpc.extend import Extend
from blindsight.mpc.mux import MuxGate, choose
from blindsight.mpc.session import Flow, Pending, Session, chunks, drive, ring_vector
from blindsight.mpc.trunc import check_widths, truncate
from blindsight.ot.correlations import Draw


@dataclass
class RangeDrawn:
    """One party's correlations for one `Range`."""

    sign: Drawn
    mux: MuxGate


class Range:
    """From shares of x mod 2^m to shares of min(max(x, low), high) - low mod 2^r, r <= m."""

    def __init__(self, m: int, low: int, high: int, r: int) -> None:
        half = 1 << (m - 2)
        if not (-half <= low < high <= half and high - low < 1 << r <= 1 << m):
            raise ValueError(f"bounds {low} and {high} do not fit {m - 1} bits")
        self.m, self.low, self.high, self.r = m, low, high, r
        self.drelu = DReLU(m)

    def draws(self, n: int) -> list[Draw]:
        """What `draw` consumes."""
        return self.drelu.draws(2 * n) + MuxGate.draws(self.r, 2 * n)

    def draw(self, session: Session, n: int) -> RangeDrawn:
        """Fresh correlations for n numbers."""
        return RangeDrawn(self.drelu.draw(session, 2 * n), MuxGate.draw(session, self.r, 2 * n))

    def flow(self, session: Session, drawn: RangeDrawn, x: np.ndarray) -> Flow[Pending[np.ndarray]]:
        """`x`: shares `uint32` [n]; bits above m are ignored."""
        bounds = np.array([self.low, self.high] if session.party == 0 else [0, 0], np.int64).astype(np.uint32)
        above = (x[None] - bounds[:, None]).reshape(-1)
        start = Pending.ready(np.asarray(_native.slice_bits(above, self.m)))
        sign = yield from self.drelu.flow(session, drawn.sign, start, MuxGate.nbytes(self.r, 2 * len(x)))
        mask = np.uint32((1 << self.r) - 1)

        def join(products: list[np.ndarray]) -> np.ndarray:
            over_low, over_high = products[0].reshape(2, -1)
            return (over_low - over_high) & mask

        return choose(sign, [drawn.mux], [above]).then(join)


class Clip:
    """min(max(F_TR(f)(x), low), high) as shares mod 2^32; low and high are integers at the truncated scale."""

    def __init__(self, f: int, m: int, low: int, high: int) -> None:
        check_widths(f, m + 1)
        r = (high - low).bit_length() + 1
        self.f, self.m, self.low = f, m, low
        self.range = Range(m + 1, low, high, r)
        self.extend = Extend(r, sender=self.range.drelu.first)

    def draws(self, n: int) -> list[Draw]:
        """The correlations `run` consumes, in order."""
        sizes = [c.stop - c.start for c in chunks(n)]
        return [d for size in sizes for d in self.range.draws(size) + self.extend.draws(size)]

    def flow(self, session: Session, x: np.ndarray) -> Flow[np.ndarray]:
        """As `run` for one chunk."""
        z, _ = truncate(x, self.f, self.m + 1, session.party)
        drawn, product = self.range.draw(session, len(x)), self.extend.draw(session, len(x))
        y = yield from self.extend.flow(product, (yield from self.range.flow(session, drawn, z)))
        return y + np.int64(self.low).astype(np.uint32) if session.party == 0 else y

    def run(self, session: Session, x: np.ndarray) -> np.ndarray:
        """A share `uint32` [n] to a share `uint32` [n]."""
        ring_vector(x)
        parts = drive(session, (self.flow(session, x[c]) for c in chunks(len(x))))
        return np.concatenate([np.empty(0, np.uint32), *parts])
