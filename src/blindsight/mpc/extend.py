"""F_EXT(m): from shares mod 2^m to shares mod 2^32 of the same number.

Realisation: x = x0 + x1 - 2^m wrap. For 0 <= x < 2^(m-1) the sum wraps exactly when one of the shares has its
top bit set: wrap = msb0 OR msb1 = msb0 + (1 - msb0) msb1, one product mod 2^(32-m). Signed |x| < 2^(m-2): add
2^(m-2), extend, subtract. One flight.

Valid inputs: zero extension 0 <= x < 2^(m-1); signed -2^(m-2) <= x < 2^(m-2). Outside, the result is off by
2^m: the compiler's bounds forbid it.
Adversary and leakage: those of `Product`. Source: Rathee et al., "SIRNN" (S&P 2021), section 3, with the known
sign of Huang et al., "Cheetah" (USENIX Security 2022), section 5.
"""

from __future__ import annotations

import numpy as np

import blindsight._native as _native
from blindsight.mpc.product import Product
from blindsight.mpc.session import NOTHING, Flow, Pending, Session
from blindsight.ot.correlations import Draw


class Extend:
    """Zero extension of m-bit shares to 32 bits.

    Args:
        m: 2 to 32 (32: nothing to do).
        sender: the party that plays the OT's sender.
    """

    def __init__(self, m: int, sender: int = 0) -> None:
        if not 2 <= m <= 32:
            raise ValueError(f"extension starts from 2 to 32 bits, not {m}")
        self.m, self.sender = m, sender

    def draws(self, n: int) -> list[Draw]:
        """The correlations one use consumes, in order."""
        return Product.draws(self.sender, 32 - self.m, n) if self.m < 32 else []

    def draw(self, session: Session, n: int) -> Product | None:
        """The correlation for n numbers; None where there is nothing to do."""
        return Product.draw(session, self.sender, 32 - self.m, n) if self.m < 32 else None

    def flow(self, product: Product | None, start: Pending[np.ndarray]) -> Flow[np.ndarray]:
        """From shares `uint32` [n] below 2^m to shares mod 2^32."""
        if product is None:
            return (yield from start.end())
        if start.reads:
            data = yield start.head, start.reads + product.reads()
            x, data = start.settle(data[: start.reads]), data[start.reads :]
            yield [self._offer(product, x)], 0
        else:
            x = start.settle(NOTHING)
            data = yield [*start.head, self._offer(product, x)], product.reads()
        wrap = product.finish(data)
        if product.sends:
            wrap = wrap + (x >> np.uint32(self.m - 1))
        return x - (wrap << np.uint32(self.m))

    def _offer(self, product: Product, x: np.ndarray) -> np.ndarray:
        top = x >> np.uint32(self.m - 1)
        return product.offer(top ^ np.uint32(1) if product.sends else _native.slice_bits(top, 1)[0])
