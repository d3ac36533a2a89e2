"""Product of an integer that one party knows and a bit that the other knows, shared mod 2^w: one correlated OT.

Realisation: the holder of the integer u sends pads0 + u - pads1; the holder of the bit opens t = bit xor (its
random choice). Both messages may travel in the same flight: u * choice is shared by the first, and t turns it
into u * bit locally.

Adversary: semi-honest; each message is uniform to its reader (the unknown pad, the unknown choice).
Source: correlated OT from random OT, Asharov, Lindell, Schneider, Zohner (CCS 2013); the opening after Beaver
(CRYPTO 1995).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

import blindsight._native as _native
from blindsight.mpc.session import Session, plane_bytes, take_planes
from blindsight.ot.correlations import Draw, ints


@dataclass
class Product:
    """One party's correlation for one product.  `sender` holds the integer, the other party the bit."""

    w: int
    n: int
    sends: bool
    pads: np.ndarray = field(default_factory=lambda: np.empty((2, 0), np.uint32))
    choice: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))
    got: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint32))
    _mine: np.ndarray = field(init=False)

    @staticmethod
    def draws(sender: int, w: int, n: int) -> list[Draw]:
        """What `draw` consumes."""
        return [ints(sender, 1, w, n)] if n else []

    @classmethod
    def draw(cls, session: Session, sender: int, w: int, n: int) -> Product:
        """A fresh correlation."""
        (d,) = cls.draws(sender, w, n)
        drawn = session.correlations.draw(d)
        if session.party == sender:
            return cls(w, n, True, pads=drawn[0])
        return cls(w, n, False, choice=drawn[0][0], got=drawn[1])

    def reads(self) -> int:
        """Bytes of the peer's message."""
        return plane_bytes(1 if self.sends else self.w, self.n)

    def writes(self) -> int:
        """Bytes of this party's message."""
        return plane_bytes(self.w if self.sends else 1, self.n)

    def offer(self, value: np.ndarray) -> np.ndarray:
        """The message for the peer: of u (`uint32` [n]) when this party sends, of the bit (`uint64` [W]) when it does not."""
        self._mine = value if self.sends else value ^ self.choice
        return np.asarray(_native.product_offer(value, self.pads, self.w)) if self.sends else self._mine

    def finish(self, message: np.ndarray) -> np.ndarray:
        """This party's share of u * bit, `uint32` [n] below 2^w, from the peer's message (`uint8`)."""
        (theirs,) = take_planes(message, [1 if self.sends else self.w], self.n)
        if self.sends:
            return np.asarray(_native.product_sender(theirs[0], self._mine, self.pads, self.w))
        return np.asarray(_native.product_receiver(self._mine, theirs, self.choice, self.got))
