"""F_LUT(8): a function of one number, by 256 public lines (see `table`).

Realisation: F_TR(f), F_Clip to the table's range, then with z = h 2^l + r shared (h0, r0 at the cloud, h1, r1
at the helper) value = base[h] + slope[h] r0 + slope[h] r1. The cloud offers base[h0 + j] + slope[h0 + j] r0 for
every j, under its new share, and the helper takes j = h1; the helper offers slope[h1 + j] r1 and the cloud
takes j = h0: one 1-of-256 OT each way, no secure multiplication. Message 0 is made zero by the choice of the
share and stays at home. Then F_EXT to 32 bits.

Cost at w bits of value: 16 + 1 random OTs (each 1-of-256 hashes 256 pads), 2 * 255 w + 16 + 33 - w bits, four
flights after the clip's four.
Valid inputs: -2^(m-1+f) <= x < 2^(m-1+f) - 2^f, m + f <= 31. Accuracy: `table`; a result depends on how z is
split by less than that bound.

Adversary: semi-honest; a receiver's correction is uniform, of the 256 messages it can unmask one, which holds
the sender's fresh share.
Source: tables by 1-of-N OT: Dessouky et al., "Pushing the communication barrier in secure computation using
lookup tables" (NDSS 2017), section 4; OT of integers derandomised as Beaver (CRYPTO 1995).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import blindsight._native as _native
from blindsight.mpc.clip import Range, RangeDrawn
from blindsight.mpc.extend import Extend
from blindsight.mpc.product import Product
from blindsight.mpc.session import (
    Flow,
    Pending,
    Session,
    chunks,
    draw_both,
    drive,
    plane_bytes,
    ring_vector,
    take_planes,
)
from blindsight.mpc.table import LINES, K, Table
from blindsight.mpc.trunc import check_widths, truncate
from blindsight.ot.correlations import Draw, ints

CHUNK = 1 << 12  # elements: 1 KiB of pads each way an element


@dataclass
class LookUpDrawn:
    """One party's correlations for one look-up of n numbers."""

    pads: np.ndarray  # uint32 [256, n]
    choice: np.ndarray  # uint64 [8, W]
    got: np.ndarray  # uint32 [n]


class LookUp:
    """From shares of z mod 2^(8+l), 2^l <= z < 2^(8+l), to shares of value + offset mod 2^w.

    Args:
        first: the party that may still wait for its z; the other is ready.
    """

    def __init__(self, table: Table, first: int) -> None:
        self.table, self.first = table, first

    def draws(self, n: int) -> list[Draw]:
        """What `draw` consumes."""
        return [ints(0, K, self.table.w, n), ints(1, K, self.table.w, n)] if n else []

    def draw(self, session: Session, n: int) -> LookUpDrawn:
        """Fresh correlations for n numbers."""
        return LookUpDrawn(*draw_both(session, self.draws(n)))

    def flow(
        self, session: Session, drawn: LookUpDrawn, start: Pending[np.ndarray]
    ) -> Flow[Pending[np.ndarray]]:
        """`start`: shares of z, `uint32` [n]."""
        n = drawn.pads.shape[1]
        asks, tells = plane_bytes(K, n), plane_bytes((LINES - 1) * self.table.w, n)
        if session.party == self.first:
            data = yield start.head, start.reads + asks
            index, z = self._index(start.settle(data[: start.reads]))
            messages, own = self._offer(session.party, drawn, z, data[start.reads :])
            return Pending(
                lambda told: self._take(drawn, index, own, told), [index ^ drawn.choice, messages], tells
            )
        index, z = self._index(start.settle(np.empty(0, np.uint8)))
        data = yield [*start.head, index ^ drawn.choice], asks + tells
        messages, own = self._offer(session.party, drawn, z, data[:asks])
        return Pending.ready(self._take(drawn, index, own, data[asks:]), [messages])

    def _index(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = z & np.uint32((1 << self.table.bits) - 1)
        return np.asarray(_native.slice_bits(z >> np.uint32(self.table.l), K)), z

    def _offer(
        self, party: int, drawn: LookUpDrawn, z: np.ndarray, asked: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The messages about this party's half of the value, and its share of it."""
        table = self.table
        base = table.base if party == 0 else np.zeros_like(table.base)
        high, low = z >> np.uint32(table.l), z & np.uint32((1 << table.l) - 1)
        (correction,) = take_planes(asked, [K], len(z))
        asked_index = _native.unslice_bits(correction, len(z))
        messages, own = _native.lut_messages(
            base, table.slope, table.shift, high, low, asked_index, drawn.pads, table.w
        )
        return messages, own

    def _take(self, drawn: LookUpDrawn, index: np.ndarray, own: np.ndarray, told: np.ndarray) -> np.ndarray:
        (messages,) = take_planes(told, [(LINES - 1) * self.table.w], len(own))
        taken = np.asarray(_native.unslice_bits(_native.lut_select(index, messages, self.table.w), len(own)))
        return (own + taken - drawn.got) & np.uint32((1 << self.table.w) - 1)


@dataclass
class LutDrawn:
    """One party's correlations for one `Lut`."""

    range: RangeDrawn
    look_up: LookUpDrawn
    extend: Product | None


class Lut:
    """A table of F_TR(f)(x), clipped to the table's range, as shares mod 2^32 at the table's output scale."""

    def __init__(self, f: int, m: int, table: Table) -> None:
        check_widths(f, m + 1)
        self.f, self.m, self.table = f, m, table
        self.range = Range(m + 1, table.low, table.high, min(table.bits, m + 1))
        first = self.range.drelu.first
        self.look_up, self.extend = LookUp(table, first), Extend(table.w, sender=first)

    def draws(self, n: int) -> list[Draw]:
        """The correlations `run` consumes, in order."""
        return [d for c in chunks(n, CHUNK) for d in self.chunk_draws(c.stop - c.start)]

    def chunk_draws(self, n: int) -> list[Draw]:
        """What `flow` consumes."""
        return self.range.draws(n) + self.look_up.draws(n) + self.extend.draws(n)

    def flow(self, session: Session, x: np.ndarray) -> Flow[np.ndarray]:
        """As `run` for one chunk."""
        n = len(x)
        reduced, _ = truncate(x, self.f, self.m + 1, session.party)
        drawn = LutDrawn(
            self.range.draw(session, n), self.look_up.draw(session, n), self.extend.draw(session, n)
        )
        lift = np.uint32(1 << self.table.l) if session.party == 0 else np.uint32(0)
        clipped = yield from self.range.flow(session, drawn.range, reduced)
        value = yield from self.look_up.flow(session, drawn.look_up, clipped.then(lambda q: q + lift))
        y = yield from self.extend.flow(drawn.extend, value)
        return y - np.int64(self.table.offset).astype(np.uint32) if session.party == 0 else y

    def run(self, session: Session, x: np.ndarray) -> np.ndarray:
        """A share `uint32` [n] to a share `uint32` [n]."""
        ring_vector(x)
        parts = drive(session, (self.flow(session, x[c]) for c in chunks(len(x), CHUNK)))
        return np.concatenate([np.empty(0, np.uint32), *parts])
