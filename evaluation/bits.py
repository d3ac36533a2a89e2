"""How often each bit of each message was one, over many pictures of two kinds.

A simulator of a server's view knows the plan alone: it tosses a fair coin for every bit but those that packing leaves
unused, which are fixed for all pictures. So must the real messages be, and alike for both kinds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blindsight.evaluation.uniform import p_squares


@dataclass
class Bits:
    """Counts over pictures of two kinds.

    Attributes:
        ones: uint32 [2, bits], how often a bit was one in pictures of each kind.
        pictures: int64 [2], how many there were; those whose messages had other lengths than the first's are left out.
    """

    ones: np.ndarray
    pictures: np.ndarray

    @classmethod
    def none(cls) -> Bits:
        """Nothing counted yet."""
        return cls(np.zeros((2, 0), np.uint32), np.zeros(2, np.int64))

    def add(self, kind: int, messages: Sequence[bytes]) -> None:
        """Counts the messages of one picture of that kind."""
        row = np.unpackbits(np.frombuffer(b"".join(messages), np.uint8), bitorder="little")
        if not self.pictures.any():
            self.ones = np.zeros((2, row.size), np.uint32)
        if row.size == self.ones.shape[1]:
            self.ones[kind] += row
            self.pictures[kind] += 1

    def __add__(self, other: Bits) -> Bits:
        if not self.pictures.any() or self.ones.shape != other.ones.shape:
            return other if not self.pictures.any() else self
        return Bits(self.ones + other.ones, self.pictures + other.pictures)

    @property
    def tossed(self) -> np.ndarray:
        """Which bits are not the same in all pictures: bool [bits]."""
        ones = self.ones.sum(axis=0)
        return (ones > 0) & (ones < self.pictures.sum())

    def p_coins(self) -> float:
        """p-value of "every bit that is tossed is a fair coin": the sum of their squared imbalances, two-sided."""
        n = int(self.pictures.sum())
        ones = self.ones.sum(axis=0)[self.tossed]
        return p_squares((ones - n / 2) / math.sqrt(n / 4), n)

    def p_alike(self) -> float:
        """p-value of "no bit tells the two kinds apart": the same of the differences of their shares of ones."""
        n = self.pictures
        share = self.ones[:, self.tossed] / n[:, None]
        return p_squares((share[0] - share[1]) / math.sqrt((1 / n[0] + 1 / n[1]) / 4), int(n.min()))
