"""A trusted dealer in place of OT: INSECURE, for tests alone.

Both parties expand the same seed and keep their own half, so either could compute the other's.  Nothing outside
tests imports this file.
"""

from __future__ import annotations

import numpy as np

from blindsight.ot.correlations import Draw, words


class Dealer:
    """`Correlations` of one party from a seed that both parties share.

    Both must draw the same list in the same order; a Draw that differs shows at once as wrong results.
    """

    def __init__(self, party: int, seed: int) -> None:
        if party not in (0, 1):
            raise ValueError(f"party is 0 or 1, not {party}")
        self.party = party
        self._rng = np.random.Generator(np.random.PCG64(seed))

    def _words(self, *shape: int) -> np.ndarray:
        return self._rng.integers(0, 1 << 64, size=shape, dtype=np.uint64)

    def draw(self, d: Draw) -> tuple[np.ndarray, ...]:
        """As `Correlations.draw`."""
        width = words(d.n)
        if d.kind == "triples":
            a0, b0, c0, a1, b1 = self._words(5, width)
            if self.party == 0:
                return a0, b0, c0
            return a1, b1, ((a0 ^ a1) & (b0 ^ b1)) ^ c0
        choice = self._words(d.k, width)
        pads = self._words(1 << d.k, d.w, width) if d.kind == "bits" else self._integers(d)
        if self.party == d.sender:
            return (pads,)
        bit = np.unpackbits(choice.view(np.uint8), axis=1, bitorder="little").reshape(d.k, -1)
        index = sum((bit[t].astype(np.intp) << t for t in range(d.k)), np.zeros(bit.shape[1], np.intp))
        if d.kind == "ints":
            return choice, np.take_along_axis(pads, index[None, : d.n], axis=0)[0]
        pad = np.zeros((d.w, width), np.uint64)
        for j in range(1 << d.k):
            chosen = np.packbits(index == j, bitorder="little").view(np.uint64)
            pad |= pads[j] & chosen
        return choice, pad

    def _integers(self, d: Draw) -> np.ndarray:
        return self._rng.integers(0, 1 << d.w, size=(1 << d.k, d.n), dtype=np.uint32)


def dealt_pair(seed: int) -> tuple[Dealer, Dealer]:
    """The two halves of one dealer: party 0's and party 1's."""
    return Dealer(0, seed), Dealer(1, seed)
