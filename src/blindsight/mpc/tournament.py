"""The maximum of k candidates, for n problems at once, and, where wanted, its index.

Realisation: knock-out rounds of neighbours. b = [left - right >= 0] by F_DReLU, winner = right + b * (left -
right) by F_MUX; an odd candidate passes. The left candidate has the lower index and wins ties. Values keep one
spare bit: with all |values| < 2^(w-2) every difference fits w-bit two's complement (-2^(w-2) itself is
allowed).

Adversary and leakage: those of DReLU and MUX. Source: Rathee et al., "CrypTFlow2" (CCS 2020), section 5
(maxpool, argmax).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import blindsight._native as _native
from blindsight.mpc.compare import Drawn
from blindsight.mpc.drelu import DReLU
from blindsight.mpc.mux import MuxGate, choose
from blindsight.mpc.session import Flow, Pending, Session
from blindsight.ot.correlations import Draw


@dataclass
class Match:
    """The correlations of one knock-out round."""

    sign: Drawn
    muxes: list[MuxGate]


@dataclass
class Winners:
    """What a tournament leaves: one row of `values` (and `indices`), and each round's bits [left >= right].

    Attributes:
        results: pending [value] or [value, index] or [index], each `uint32` [n].
        bits: for each round this party's share, a bit vector over (pair, problem).
    """

    results: Pending[list[np.ndarray]]
    bits: list[np.ndarray]


class Tournament:
    """Args:
    k: candidates, at least 1.
    w: bits of the ring that the values live in.
    value: the maximum itself is wanted.
    index: the index of the (first) maximum is wanted, mod 2^32.
    sender: who sends the leaves of the first round.
    """

    def __init__(self, k: int, w: int, value: bool = True, index: bool = False, sender: int = 0) -> None:
        if k < 1 or not (value or index):
            raise ValueError("a tournament has at least one candidate and one result")
        self.k, self.w, self.value, self.index = k, w, value, index
        self.rounds: list[tuple[int, DReLU]] = []
        while k > 1:
            self.rounds.append((k // 2, DReLU(w, sender)))
            sender = self.rounds[-1][1].first
            k = (k + 1) // 2
        self.sender = sender  # the party that is not ready when the results are pending

    def _widths(self, round_: int) -> list[int]:
        last = round_ == len(self.rounds) - 1
        return ([] if last and not self.value else [self.w]) + ([32] if self.index else [])

    def draws(self, n: int) -> list[Draw]:
        """What `draw` consumes."""
        out: list[Draw] = []
        for r, (pairs, drelu) in enumerate(self.rounds):
            out += drelu.draws(pairs * n)
            for w in self._widths(r):
                out += MuxGate.draws(w, pairs * n)
        return out

    def draw(self, session: Session, n: int) -> list[Match]:
        """Fresh correlations for n problems."""
        return [
            Match(
                drelu.draw(session, pairs * n), [MuxGate.draw(session, w, pairs * n) for w in self._widths(r)]
            )
            for r, (pairs, drelu) in enumerate(self.rounds)
        ]

    def flow(self, session: Session, drawn: list[Match], x: np.ndarray) -> Flow[Winners]:
        """`x`: shares `uint32` [k, n] of the candidates (bits above w are ignored)."""
        rows = [x]
        if self.index:
            own = np.arange(self.k, dtype=np.uint32) if session.party == 0 else np.zeros(self.k, np.uint32)
            rows.append(np.repeat(own[:, None], x.shape[1], axis=1))
        state, bits = Pending.ready(rows), []
        for r, ((pairs, drelu), match) in enumerate(zip(self.rounds, drawn, strict=True)):
            state, bit = yield from self._round(
                session, pairs, drelu, match, state, r == len(self.rounds) - 1
            )
            bits.append(bit)
        if not self.rounds:
            state = Pending.ready(rows if self.value else rows[1:])
        return Winners(state.then(lambda rows: [row.reshape(-1) for row in rows]), bits)

    def _round(
        self,
        session: Session,
        pairs: int,
        drelu: DReLU,
        match: Match,
        state: Pending[list[np.ndarray]],
        last: bool,
    ) -> Flow[tuple[Pending[list[np.ndarray]], np.ndarray]]:
        kept: list[list[np.ndarray]] = []

        def planes(rows: list[np.ndarray]) -> np.ndarray:
            kept.extend([rows, [_difference(row, pairs) for row in rows]])
            return np.asarray(_native.slice_bits(kept[1][0], drelu.m))

        nbytes = sum(MuxGate.nbytes(gate.m, match.sign.n) for gate in match.muxes)
        sign = yield from drelu.flow(session, match.sign, state.then(planes), nbytes)
        rows, differences = kept
        if last and not self.value:
            rows, differences = rows[1:], differences[1:]

        def advance(products: list[np.ndarray]) -> list[np.ndarray]:
            return [_winners(row, pairs, product) for row, product in zip(rows, products, strict=True)]

        return choose(sign, match.muxes, differences).then(advance), sign.share


def _difference(row: np.ndarray, pairs: int) -> np.ndarray:
    return (row[0 : 2 * pairs : 2] - row[1 : 2 * pairs : 2]).reshape(-1)


def _winners(row: np.ndarray, pairs: int, product: np.ndarray) -> np.ndarray:
    won = row[1 : 2 * pairs : 2] + product.reshape(pairs, -1)
    return np.concatenate([won, row[2 * pairs :]])


def settled(winners: Winners) -> Pending[np.ndarray]:
    """The only result of a tournament that has one."""
    return winners.results.then(lambda rows: rows[0])
