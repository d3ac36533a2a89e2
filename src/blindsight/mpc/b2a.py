"""F_B2A(w): an xor-shared bit becomes additive shares mod 2^w. b0 xor b1 = b0 + b1 - 2 b0 b1: one product mod
2^(w-1), one flight.
"""

from __future__ import annotations

import numpy as np

import blindsight._native as _native
from blindsight.mpc.product import Product
from blindsight.mpc.session import Flow, Session, drive
from blindsight.ot.correlations import Draw


def bit_integers(bit: np.ndarray, n: int) -> np.ndarray:
    """A bit vector `uint64` [words(n)] as `uint32` [n] of 0 and 1."""
    return np.asarray(_native.unslice_bits(bit.reshape(1, -1), n))


class B2A:
    """Shares mod 2^w of a shared bit, times `1 << shift`.

    Args:
        w: bits of the result's ring beyond the shift, 2 to 32; the result is a share mod 2^(w + shift) <= 2^32.
        sender: the party that plays the OT's sender.
        shift: weight of the bit.
    """

    def __init__(self, w: int = 32, sender: int = 0, shift: int = 0) -> None:
        if not (w >= 2 and shift >= 0 and w + shift <= 32):
            raise ValueError(f"B2A needs 2 <= w and w + shift <= 32, not {w} and {shift}")
        self.w, self.sender, self.shift = w, sender, shift

    def draws(self, n: int) -> list[Draw]:
        """The correlations one use consumes, in order."""
        return Product.draws(self.sender, self.w - 1, n)

    def draw(self, session: Session, n: int) -> Product:
        """The correlation for n bits."""
        return Product.draw(session, self.sender, self.w - 1, n)

    def offer(self, product: Product, bit: np.ndarray) -> np.ndarray:
        """The message for the peer."""
        return product.offer(bit_integers(bit, product.n) if product.sends else bit)

    def finish(self, product: Product, bit: np.ndarray, message: np.ndarray) -> np.ndarray:
        """This party's share, `uint32` [n]."""
        twice = product.finish(message) << np.uint32(1)
        mask = np.uint32((1 << (self.w + self.shift)) - 1)
        return ((bit_integers(bit, product.n) - twice) << np.uint32(self.shift)) & mask

    def flow(self, session: Session, bit: np.ndarray, n: int) -> Flow[np.ndarray]:
        """As `run`, as a flow."""
        product = self.draw(session, n)
        data = yield [self.offer(product, bit)], product.reads()
        return self.finish(product, bit, data)

    def run(self, session: Session, bit: np.ndarray, n: int) -> np.ndarray:
        """Share of the bits `uint64` [words(n)] to a share `uint32` [n] of bit << shift mod 2^(w + shift)."""
        return drive(session, [self.flow(session, bit, n)])[0] if n else np.empty(0, np.uint32)
