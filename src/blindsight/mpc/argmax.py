"""F_ArgMax and top-k on untruncated logits: fresh shares of the indices and of nothing else.

Realisation: a tournament mod 2^32 that carries the index along; the lower index wins ties. Top-k runs k of
them; after each the winner's place, a shared one-hot vector from the tournament's own bits (one AND a round),
lowers that logit to -2^30, below all others.

Valid inputs: |logit| < 2^30 (E included), so that every difference fits 32-bit two's complement.
Adversary and leakage: those of the tournament, F_AND and F_MUX; which candidate won stays shared.
"""

from __future__ import annotations

import numpy as np

import blindsight._native as _native
from blindsight.mpc.b2a import bit_integers
from blindsight.mpc.bits import And, AndGate
from blindsight.mpc.mux import Mux, MuxGate
from blindsight.mpc.session import Flow, Session, drive, plane_bytes, take_planes
from blindsight.mpc.tournament import Tournament
from blindsight.ot.correlations import Draw

FLOOR = np.uint32((1 << 32) - (1 << 30))


def _logits(x: np.ndarray, count: int) -> np.ndarray:
    if x.dtype != np.uint32 or x.ndim != 2 or x.shape[1] != count:
        raise ValueError(f"logits are uint32 [batch, {count}], not {x.dtype}{list(x.shape)}")
    return np.ascontiguousarray(x.T)


class ArgMax:
    """The index of the largest of `count` logits; the lowest such index when several are equal."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.tournament = Tournament(count, 32, value=False, index=True)

    def draws(self, batch: int) -> list[Draw]:
        """The correlations `run` consumes, in order."""
        return self.tournament.draws(batch)

    def _flow(self, session: Session, x: np.ndarray) -> Flow[np.ndarray]:
        winners = yield from self.tournament.flow(session, self.tournament.draw(session, x.shape[1]), x)
        (index,) = yield from winners.results.end()
        return index

    def run(self, session: Session, x: np.ndarray) -> np.ndarray:
        """A share `uint32` [batch, count] to a share `uint32` [batch] of the index mod 2^32."""
        x = _logits(x, self.count)
        return drive(session, [self._flow(session, x)])[0] if x.shape[1] else np.empty(0, np.uint32)


class TopK:
    """The indices of the k largest logits, largest first, lower index first among equals."""

    def __init__(self, count: int, k: int) -> None:
        if not 1 <= k <= count:
            raise ValueError(f"top-{k} of {count} classes: k is from 1 to the number of classes")
        self.count, self.k = count, k
        self.tournament = Tournament(count, 32, value=False, index=True)

    def draws(self, batch: int) -> list[Draw]:
        """The correlations `run` consumes, in order."""
        one = self.tournament.draws(batch)
        for pairs, _ in reversed(self.tournament.rounds[:-1]):
            one += And().draws(pairs * batch)
        return (one + Mux(32).draws(self.count * batch)) * (self.k - 1) + self.tournament.draws(batch)

    def _flow(self, session: Session, x: np.ndarray) -> Flow[np.ndarray]:
        n, found = x.shape[1], []
        for place in range(self.k):
            drawn = self.tournament.draw(session, n)
            winners = yield from self.tournament.flow(session, drawn, x)
            (index,) = yield from winners.results.end()
            found.append(index)
            if place < self.k - 1:
                x = yield from self._lower(session, x, winners.bits)
        return np.stack(found, axis=1)

    def _lower(self, session: Session, x: np.ndarray, bits: list[np.ndarray]) -> Flow[np.ndarray]:
        """The logits with the winner's at -2^30."""
        n = x.shape[1]
        alive = np.full(
            (1, n), np.uint32(1 - session.party)
        )  # who descends from the final's winner, xor-shared
        for r in reversed(range(len(bits))):
            pairs = self.tournament.rounds[r][0]
            left = bit_integers(bits[r], pairs * n).reshape(pairs, n)
            if r < len(bits) - 1:
                both = np.asarray(_native.slice_bits(np.ascontiguousarray(alive[:pairs]).reshape(-1), 1))
                (gate,) = AndGate.draw(session, 1, pairs * n)
                mine = gate.open(both[0], bits[r].reshape(1, -1))
                data = yield [mine], plane_bytes(2, pairs * n)
                left = bit_integers(
                    gate.combine(mine, *take_planes(data, [2], pairs * n))[0], pairs * n
                ).reshape(pairs, n)
            children = np.stack([left, left ^ alive[:pairs]], axis=1).reshape(2 * pairs, n)
            alive = np.concatenate([children, alive[pairs:]])
        hot = np.asarray(_native.slice_bits(np.ascontiguousarray(alive).reshape(-1), 1))[0]
        drop = (FLOOR if session.party == 0 else np.uint32(0)) - x
        gate32 = MuxGate.draw(session, 32, x.size)
        data = yield [gate32.offer(hot, drop.reshape(-1))], MuxGate.nbytes(32, x.size)
        return x + gate32.finish(data).reshape(x.shape)

    def run(self, session: Session, x: np.ndarray) -> np.ndarray:
        """A share `uint32` [batch, count] to a share `uint32` [batch, k] of the indices mod 2^32."""
        x = _logits(x, self.count)
        return drive(session, [self._flow(session, x)])[0] if x.shape[1] else np.empty((0, self.k), np.uint32)
