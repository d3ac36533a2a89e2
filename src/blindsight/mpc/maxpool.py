"""F_MaxPool(f, m): truncate, maximum over public windows, then ReLU and zero extension, or signed extension.

Realisation: F_TR(f) to m + 1 bits (values keep the m-bit bound, so that a difference of two fits), a tournament
on m + 1 bits over all windows at once, then with `relu` the m low bits go through F_ReLU's second half; without
it the m + 1 bits are extended with 2^(m-1) added and taken off again. max and ReLU commute, so one ReLU a
window suffices, and padding may be any value <= 0 (0 here); without ReLU padding is -2^(m-1), which no value
undercuts.

Valid inputs: -2^(m-1+f) <= x < 2^(m-1+f) - 2^f, m + f <= 31. Adversary and leakage: those of its parts; windows
are public.
"""

from __future__ import annotations

import numpy as np

import blindsight._native as _native
from blindsight.mpc.extend import Extend
from blindsight.mpc.relu import Positive
from blindsight.mpc.session import CHUNK, Flow, Session, chunks, drive, ring_vector
from blindsight.mpc.tournament import Tournament, settled
from blindsight.mpc.trunc import check_widths, truncate
from blindsight.ot.correlations import Draw


class MaxPool:
    """Maximum over windows.

    Args:
        f, m: as F_TR.
        relu: also max(., 0).
        windows: int [n_out, k], indices into the flattened input; -1 is padding.
    """

    def __init__(self, f: int, m: int, relu: bool, windows: np.ndarray) -> None:
        check_widths(f, m + 1)
        windows = np.asarray(windows)
        if windows.ndim != 2 or windows.shape[1] < 1 or windows.dtype.kind not in "iu":
            raise ValueError(f"windows are integers [n_out, k], not {windows.dtype}{list(windows.shape)}")
        if windows.size and windows.min() < -1:
            raise ValueError("a window index is -1 (padding) or a place in the input")
        self.f, self.m, self.relu = f, m, relu
        self.windows = np.ascontiguousarray(windows.T, dtype=np.intp)
        self.tournament = Tournament(windows.shape[1], m + 1)
        self.positive = Positive(m, self.tournament.sender)
        self.extend = Extend(m + 1, self.tournament.sender)
        self._chunk = CHUNK // 2

    @property
    def outputs(self) -> int:
        """How many numbers `run` returns."""
        return self.windows.shape[1]

    def draws(self, n: int | None = None) -> list[Draw]:
        """The correlations `run` consumes, in order (the windows fix how many)."""
        return [d for c in chunks(self.outputs, self._chunk) for d in self._draws(c.stop - c.start)]

    def _draws(self, n: int) -> list[Draw]:
        return self.tournament.draws(n) + (self.positive.draws(n) if self.relu else self.extend.draws(n))

    def _flow(self, session: Session, candidates: np.ndarray) -> Flow[np.ndarray]:
        n = candidates.shape[1]
        drawn = self.tournament.draw(session, n)
        if self.relu:
            positive = self.positive.draw(session, n)
            best = settled((yield from self.tournament.flow(session, drawn, candidates)))
            return (yield from self.positive.flow(session, positive, best.then(self._reduce)))
        product = self.extend.draw(session, n)
        best = settled((yield from self.tournament.flow(session, drawn, candidates)))
        lift = np.uint32(1 << (self.m - 1)) if session.party == 0 else np.uint32(0)
        mask = np.uint32((1 << (self.m + 1)) - 1)
        return (yield from self.extend.flow(product, best.then(lambda z: (z + lift) & mask))) - lift

    def _reduce(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = z & np.uint32((1 << self.m) - 1)
        return z, np.asarray(_native.slice_bits(z, self.m))

    def run(self, session: Session, x: np.ndarray) -> np.ndarray:
        """A share `uint32` [n_in] to a share `uint32` [n_out]."""
        ring_vector(x)
        if self.windows.size and self.windows.max() >= len(x):
            raise ValueError(f"a window reaches place {self.windows.max()} of an input of {len(x)}")
        z, _ = truncate(x, self.f, self.m + 1, session.party)
        lowest = 0 if self.relu or session.party else (1 << (self.m + 1)) - (1 << (self.m - 1))
        z = np.append(z, np.uint32(lowest))  # index -1
        parts = drive(
            session, (self._flow(session, z[self.windows[:, c]]) for c in chunks(self.outputs, self._chunk))
        )
        return np.concatenate([np.empty(0, np.uint32), *parts])
