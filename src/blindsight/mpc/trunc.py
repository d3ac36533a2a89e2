"""F_TR(f): truncate-and-reduce, local.

Both drop the low f bits of their shares, after the cloud has added 2^f; what is left are shares mod 2^(32-f),
then mod 2^m. The value is floor(x / 2^f) or floor(x / 2^f) + 1 (by the carry of the two low parts), so x >= 0
stays >= 0 and the error has mean 1/2 - frac. f = 0 is the identity, nothing is added. No message, no leakage.
Without the addition the value would be floor or floor - 1, and a zero could become -1, which a zero extension
then breaks.

Valid inputs, for a result that fits m-bit two's complement: -2^(m-1+f) <= x < 2^(m-1+f) - 2^f, and m + f <= 32.
"""

from __future__ import annotations

import numpy as np

import blindsight._native as _native
from blindsight.mpc.extend import Extend
from blindsight.mpc.session import Flow, Pending, Session, chunks, drive, ring_vector
from blindsight.ot.correlations import Draw


def check_widths(f: int, m: int, most: int = 32) -> None:
    """Raises ValueError unless 0 <= f and f + m <= most."""
    if not (f >= 0 and m >= 2 and f + m <= most):
        raise ValueError(f"truncation by f = {f} to m = {m} bits needs f >= 0, m >= 2 and f + m <= {most}")


def truncate(x: np.ndarray, f: int, m: int, party: int) -> tuple[np.ndarray, np.ndarray]:
    """A share `uint32` [n] to its truncated share: `uint32` [n] below 2^m, and its planes `uint64` [m, words(n)]."""
    add = (1 << f) if party == 0 and f else 0
    out, planes = _native.truncate_bits(ring_vector(x), add, f, m)
    return out, planes


class Truncate:
    """F_TR(f) to m bits as a functionality; nothing is exchanged."""

    def __init__(self, f: int, m: int) -> None:
        check_widths(f, m)
        self.f, self.m = f, m

    def run(self, party: int, x: np.ndarray) -> np.ndarray:
        """This party's share `uint32` [n] below 2^m."""
        return truncate(x, self.f, self.m, party)[0]


class TruncateExtend:
    """F_TR(f) to m bits, then F_EXT to 32.

    Valid inputs: unsigned 0 <= x < 2^(m-1+f) - 2^f; signed -2^(m-2+f) <= x < 2^(m-2+f) - 2^f; m + f <= 32.
    """

    def __init__(self, f: int, m: int, signed: bool = True) -> None:
        check_widths(f, m)
        self.f, self.m, self.signed = f, m, signed
        self.extend = Extend(m)

    def draws(self, n: int) -> list[Draw]:
        """The correlations `run` consumes, in order."""
        return [d for c in chunks(n) for d in self.extend.draws(c.stop - c.start)]

    def flow(self, session: Session, x: np.ndarray) -> Flow[np.ndarray]:
        """As `run` for one chunk."""
        offset = np.uint32(1 << (self.m - 2)) if self.signed else np.uint32(0)
        add = offset << np.uint32(self.f) if session.party == 0 else np.uint32(0)
        z, _ = truncate(x + add, self.f, self.m, session.party)
        y = yield from self.extend.flow(self.extend.draw(session, len(x)), Pending.ready(z))
        return y - offset if session.party == 0 else y

    def run(self, session: Session, x: np.ndarray) -> np.ndarray:
        """A share `uint32` [n] mod 2^32 to a share `uint32` [n] of floor(x / 2^f) or that + 1."""
        ring_vector(x)
        parts = drive(session, (self.flow(session, x[c]) for c in chunks(len(x))))
        return np.concatenate([np.empty(0, np.uint32), *parts])
