"""F_Softmax: shares of the probabilities of a vector of logits.

Realisation: d = x - max x (a tournament), S = sum of exp(d) (F_LUT), p = exp(d - ln S). ln S on [1, count] is a
sum of tables over [1, 8], [8, 64], ... each on S clipped to its range, so that precision is even over
magnitudes. No secure multiplication.

Error: below 2^-8 a probability (two exponentials and one logarithm; measured in tests).
Valid inputs: |logit| < 2^29, scale 6 to 26. Adversary and leakage: those of the tournament and F_LUT.
"""

from __future__ import annotations

import math

import numpy as np

from blindsight.mpc.lut import Lut
from blindsight.mpc.session import Flow, Session, drive
from blindsight.mpc.table import Table
from blindsight.mpc.tournament import Tournament, settled
from blindsight.ot.correlations import Draw

SUM_SCALE = 14
STEP = 3  # a table of ln for every three powers of two


class Softmax:
    """exp(x_i) / sum_j exp(x_j).

    Args:
        count: logits, 2 to 4096.
        scale_in, scale_out: scales of logits and probabilities.
    """

    def __init__(self, count: int, scale_in: int, scale_out: int = 14) -> None:
        if not (2 <= count <= 4096 and 6 <= scale_in <= 26 and 1 <= scale_out <= 20):
            raise ValueError(
                "softmax takes 2 to 4096 logits of scale 6 to 26, and an output scale of 1 to 20"
            )
        self.count, self.scale_in = count, scale_in
        self.tournament = Tournament(count, 32)
        scale = min(scale_in, 10)
        f = scale_in - scale
        low = 1 - (255 << (scale - 4))
        self.exp = Lut(f, 31 - f, Table.fit(np.exp, low, 0, scale, SUM_SCALE))
        self.result = Lut(f, 31 - f, Table.fit(np.exp, low, 0, scale, scale_out))
        self.log_scale = min(scale_in, SUM_SCALE)
        self.logs = [self._log(r) for r in range(math.ceil(math.log2(count + 1) / STEP))]

    def _log(self, r: int) -> Lut:
        """ln S - ln 8^r on [8^r, 8^(r+1)], the argument at scale 10 - 3r (at least 0)."""
        scale = max(10 - STEP * r, 0)
        first = 1 << (STEP * r)
        table = Table.fit(
            lambda x: np.log(x / first), first << scale, first << (STEP + scale), scale, self.log_scale
        )
        largest = self.count.bit_length() + 1 + scale
        return Lut(SUM_SCALE - scale, max(largest, (table.high).bit_length()) + 1, table)

    def draws(self, batch: int) -> list[Draw]:
        """The correlations `run` consumes, in order."""
        n = batch * self.count
        logs = [d for log in self.logs for d in log.draws(batch)]
        return self.tournament.draws(batch) + self.exp.draws(n) + logs + self.result.draws(n)

    def _max(self, session: Session, x: np.ndarray) -> Flow[np.ndarray]:
        winners = yield from self.tournament.flow(session, self.tournament.draw(session, x.shape[1]), x)
        return (yield from settled(winners).end())

    def run(self, session: Session, x: np.ndarray) -> np.ndarray:
        """A share `uint32` [batch, count] of the logits to a share `uint32` [batch, count] of the probabilities."""
        if x.dtype != np.uint32 or x.ndim != 2 or x.shape[1] != self.count:
            raise ValueError(f"logits are uint32 [batch, {self.count}], not {x.dtype}{list(x.shape)}")
        if not len(x):
            return x.copy()
        (most,) = drive(session, [self._max(session, np.ascontiguousarray(x.T))])
        d = x - most[:, None]
        total = self.exp.run(session, d.reshape(-1)).reshape(x.shape).sum(axis=1, dtype=np.uint32)
        log = np.zeros(len(x), np.uint32)
        for part in drive(session, (table.flow(session, total) for table in self.logs)):
            log += part
        log <<= np.uint32(self.scale_in - self.log_scale)
        return self.result.run(session, (d - log[:, None]).reshape(-1)).reshape(x.shape)
