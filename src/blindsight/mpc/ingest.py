"""From what the device sent to additive shares of its pixels.

`PixelsFromMask` (`rlwe`, `rlwe-sk`): the helper holds a = floor(1024 v / q) of what it decrypted, the cloud b =
floor(1024 R / q) of its mask, and x = (a >> 2) - (b >> 2) - [a mod 4 < b mod 4] + 256 [a < b] over the integers
while the decryption error is below delta / 8. One 10-bit comparison a pixel with leaves of 2, 4 and 4 bits: its
lowest leaf is the borrow.

`PixelsFromXor` (`aes`): x = x0 xor x1 bit by bit; bit i is B2A mod 2^(32-i): 8 correlated OTs a pixel, one
flight.

Adversary: semi-honest; messages are those of Compare and Product, uniform to their readers. v and R are each
uniform, so a and b are.
"""

from __future__ import annotations

import numpy as np

import blindsight._native as _native
from blindsight.mpc.b2a import B2A
from blindsight.mpc.compare import Compare
from blindsight.mpc.session import Flow, Pending, Session, chunks, drive, ring_vector
from blindsight.ot.correlations import Draw


class PixelsFromMask:
    """Pixels 0..255 from a (helper) and b (cloud), both below 1024."""

    def __init__(self) -> None:
        self.compare = Compare((2, 4, 4), sender=1)
        self.parts = (B2A(32), B2A(24, shift=8))  # borrow, 256 * [a < b]

    def draws(self, n: int) -> list[Draw]:
        """The correlations `run` consumes, in order."""
        return [d for c in chunks(n) for d in self._draws(c.stop - c.start)]

    def _draws(self, n: int) -> list[Draw]:
        return self.compare.draws(n) + [d for part in self.parts for d in part.draws(n)]

    def flow(self, session: Session, v10: np.ndarray) -> Flow[np.ndarray]:
        """As `run` for one chunk."""
        n = len(v10)
        value = v10.astype(np.uint32)
        drawn = self.compare.draw(session, n)
        products = [part.draw(session, n) for part in self.parts]
        reads = sum(p.reads() for p in products)
        tail = sum(p.writes() for p in products) if session.party == self.compare.first else reads
        end = yield from self.compare.flow(
            session, drawn, Pending.ready(np.asarray(_native.slice_bits(value, 10))), tail
        )
        bits = (end.low, end.share)
        offers = [part.offer(p, bit) for part, p, bit in zip(self.parts, products, bits, strict=True)]
        data = yield [*end.unsent, *offers], (reads if end.first else 0)
        data, out = (data if end.first else end.tail), []
        for part, product, bit in zip(self.parts, products, bits, strict=True):
            out.append(part.finish(product, bit, data[: product.reads()]))
            data = data[product.reads() :]
        own = value >> np.uint32(2)
        return (own if session.party == 1 else -own) - out[0] + out[1]

    def run(self, session: Session, v10: np.ndarray) -> np.ndarray:
        """`uint16` [n]: the helper passes a, the cloud b; returns a share `uint32` [n] of the pixels."""
        ring_vector(v10, np.uint16)
        if len(v10) and v10.max() >= 1024:
            raise ValueError("a and b have 10 bits")
        parts = drive(session, (self.flow(session, v10[c]) for c in chunks(len(v10))))
        return np.concatenate([np.empty(0, np.uint32), *parts])


class PixelsFromXor:
    """Pixels from bytes that the two parties hold xor-shared."""

    def __init__(self) -> None:
        self.parts = tuple(B2A(32 - i, shift=i) for i in range(8))

    def draws(self, n: int) -> list[Draw]:
        """The correlations `run` consumes, in order."""
        return [d for c in chunks(n) for part in self.parts for d in part.draws(c.stop - c.start)]

    def flow(self, session: Session, value: np.ndarray) -> Flow[np.ndarray]:
        """As `run` for one chunk."""
        n = len(value)
        planes = _native.slice_bits(value.astype(np.uint32), 8)
        products = [part.draw(session, n) for part in self.parts]
        offers = [part.offer(p, bit) for part, p, bit in zip(self.parts, products, planes, strict=True)]
        data = yield offers, sum(p.reads() for p in products)
        total = np.zeros(n, np.uint32)
        for part, product, bit in zip(self.parts, products, planes, strict=True):
            total += part.finish(product, bit, data[: product.reads()])
            data = data[product.reads() :]
        return total

    def run(self, session: Session, value: np.ndarray) -> np.ndarray:
        """A share `uint8` [n] (cloud: the ciphertext bytes, helper: the key stream); returns a share `uint32` [n] of the pixels."""
        ring_vector(value, np.uint8)
        parts = drive(session, (self.flow(session, value[c]) for c in chunks(len(value))))
        return np.concatenate([np.empty(0, np.uint32), *parts])
