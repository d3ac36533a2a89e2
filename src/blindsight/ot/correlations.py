"""Random correlations: what every non-linear protocol consumes.

A protocol lists its `Draw`s beforehand; both parties draw the same list in the same order, from whichever
source (`ot.generate`, the material store, or in tests `ot.ideal`).  The three kinds, n instances each, with
W = words(n) = ceil(n / 64) and bit i of a vector = bit i % 64 of word i // 64:

``bits``     1-of-2^k random OT of w-bit strings, bit-sliced.
             Sender: pads uint64 [2^k, w, W].  Receiver: choice uint64 [k, W], pad uint64 [w, W].
             ``pad[b, i] == pads[j_i, b, i]`` where j_i has bit t equal to ``choice[t, i]``.
``ints``     the same for w-bit integers, w <= 32.
             Sender: pads uint32 [2^k, n] (< 2^w).  Receiver: choice uint64 [k, W], pad uint32 [n].
``triples``  AND triples: a, b, c uint64 [W] each, xor-shared between the two parties, c = a & b.

The bits past n in a bit vector are ordinary instances: `bits` and `triples` hold 64 * W of them.

Security (semi-honest): to the receiver the pads it did not choose are uniform, to the sender the choice is
uniform; of a triple each party sees three words uniform up to its own relation.  Any one correlation is used
once.  Source: the OT-hybrid derandomisation of Beaver, "Precomputing oblivious transfer" (CRYPTO 1995).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

Kind = Literal["bits", "ints", "triples"]
MAX_K = 8  # 1-of-256; a sender hashes 2^k pads an instance
MAX_W = 32


def words(n: int) -> int:
    """64-bit words that hold n bits."""
    return (n + 63) // 64


@dataclass(frozen=True)
class Draw:
    """One list entry: `n` correlations of one `kind`.  Triples: sender 0, k 0, w 1."""

    kind: Kind
    sender: int
    k: int
    w: int
    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"a draw has at least one instance, not {self.n}")
        if self.kind == "triples":
            if (self.sender, self.k, self.w) != (0, 0, 1):
                raise ValueError("triples have sender 0, k 0, w 1: use triples(n)")
            return
        if self.kind not in ("bits", "ints"):
            raise ValueError(f"unknown kind of correlation {self.kind!r}: bits, ints or triples")
        if self.sender not in (0, 1):
            raise ValueError(f"sender is party 0 or 1, not {self.sender}")
        if not 1 <= self.k <= MAX_K:
            raise ValueError(f"1-of-2^k OT has k from 1 to {MAX_K}, not {self.k}")
        if not 1 <= self.w <= MAX_W:
            raise ValueError(f"{self.kind} have w from 1 to {MAX_W}, not {self.w}")

    def shapes(self, party: int) -> tuple[tuple[tuple[int, ...], type[np.generic]], ...]:
        """Shape and dtype of each array that `party` gets: exactly what `Correlations.draw` returns."""
        width = words(self.n)
        if self.kind == "triples":
            return tuple(((width,), np.uint64) for _ in range(3))
        if self.kind == "bits":
            if party == self.sender:
                return (((1 << self.k, self.w, width), np.uint64),)
            return ((self.k, width), np.uint64), ((self.w, width), np.uint64)
        if party == self.sender:
            return (((1 << self.k, self.n), np.uint32),)
        return ((self.k, width), np.uint64), ((self.n,), np.uint32)

    def random_ots(self) -> int:
        """Random OTs that make this draw (64 * words(n) instances for the bit-sliced kinds)."""
        instances = 64 * words(self.n)
        return 2 * instances if self.kind == "triples" else self.k * instances


def bits(sender: int, k: int, w: int, n: int) -> Draw:
    """n 1-of-2^k random OTs of w-bit strings (w <= 32), bit-sliced."""
    return Draw("bits", sender, k, w, n)


def ints(sender: int, k: int, w: int, n: int) -> Draw:
    """n 1-of-2^k random OTs of w-bit integers (w <= 32)."""
    return Draw("ints", sender, k, w, n)


def triples(n: int) -> Draw:
    """n AND triples."""
    return Draw("triples", 0, 0, 1, n)


class Correlations(Protocol):
    """A source of correlations.  The peer's source, drawn in the same order, gives the other halves."""

    def draw(self, d: Draw) -> tuple[np.ndarray, ...]:
        """(pads,) for the sender, (choice, pad) for the receiver, (a, b, c) for triples.

        Arrays are C-contiguous, owned by the caller, shapes and dtypes as `d.shapes(party)`.
        """
        ...
