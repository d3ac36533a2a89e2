"""Correlations made on demand over a channel: base OT once a session, then OT extension, hashed straight to pads.

Adversary: semi-honest.  Assumptions: those of `ot.base` and of the extension (`ot.softspoken`).  Neither party learns anything
of the other's pads or choices; the lists of draws are public.  The 128-bit keys of the OTs never leave the native kernels:
what is stored is finished pads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from blindsight.channel import Channel
from blindsight.fixed.rng import Rng, SystemRng
from blindsight.ot.correlations import Draw, words
from blindsight.ot.softspoken import Ends, set_up

Arrays = tuple[np.ndarray, ...]

DEFAULT_K = {"lan": 4, "wan": 8}
_PAIR = 256  # instances in a pair of tiles: the kernels' unit
_OTS_A_MESSAGE = (
    1 << 19
)  # one message covers this many OTs: both parties work at once, and memory stays small


class Generator:
    """`Correlations` from OT extension with the peer at the other end of `channel`.

    Both parties construct it at the same point of the conversation (base OT runs in the constructor) and then ask for the
    same draws in the same order.

    Args:
        channel: link to the peer; its `party` decides who sends.
        link: "lan" or "wan", both parties the same.  Decides `k` where `k` is None.
        k: SoftSpoken parameter, 1, 2, 4 or 8: (128/k - 1)/8 bytes and 2^k/k AES blocks a random OT.
        rng: source of all secrets; the operating system's by default.

    Raises:
        ChannelError: the peer vanished, broke the protocol, or was set up otherwise.
    """

    def __init__(
        self, channel: Channel, link: str = "lan", k: int | None = None, rng: Rng | None = None
    ) -> None:
        if link not in DEFAULT_K:
            raise ValueError(f"link profile is one of {sorted(DEFAULT_K)}, not {link!r}")
        self.party = channel.party
        self._channel = channel
        self._ends: Ends = set_up(channel, DEFAULT_K[link] if k is None else k, rng or SystemRng())

    def draw(self, d: Draw) -> Arrays:
        """As `Correlations.draw`."""
        return self.fill([d])[0]

    def fill(self, draws: Sequence[Draw]) -> list[Arrays]:
        """All of `draws` at once, in their order.

        Draws of the same kind, sender, k and w are made as one run of instances and then cut, so many short draws cost
        what one long draw costs.  Results are copies the caller owns.
        """
        groups: dict[tuple[str, int, int, int], list[int]] = {}
        for i, d in enumerate(draws):
            groups.setdefault((d.kind, d.sender, d.k, d.w), []).append(i)
        out: list[Arrays] = [()] * len(draws)
        for members in groups.values():
            first = draws[members[0]]
            if len(members) == 1:
                out[members[0]] = self._make(first)
                continue
            spans = [words(draws[i].n) for i in members]
            whole = self._make(Draw(first.kind, first.sender, first.k, first.w, 64 * sum(spans)))
            start = 0
            for i, span in zip(members, spans, strict=True):
                out[i] = tuple(_cut(a, start, span, draws[i].n) for a in whole)
                start += span
        return out

    def _make(self, d: Draw) -> Arrays:
        if d.kind == "triples":
            return self._triples(d.n)
        if d.sender == self.party:
            arrays = _empty(d, self.party)
            self._run([(d, arrays)])
            return arrays
        arrays = _empty(d, self.party)
        self._run([(d, arrays)])
        return arrays

    def _triples(self, n: int) -> Arrays:
        """From one 1-bit random OT each way.  Sending m0, m1: a = m0 ^ m1; receiving m_c: b = c; the cross terms are
        a_P b_Q = m0 ^ m_c, shared already (Beaver triples from OT: Asharov et al., CCS 2013, section 5.1)."""
        mine, theirs = (Draw("bits", s, 1, 1, n) for s in (self.party, 1 - self.party))
        sent, received = _empty(mine, self.party), _empty(theirs, self.party)
        self._run([(mine, sent), (theirs, received)])
        m0, m1 = sent[0][0, 0], sent[0][1, 0]
        b, m_c = received[0][0], received[1][0]
        a = m0 ^ m1
        return a, b.copy(), (a & b) ^ m0 ^ m_c

    def _run(self, work: Iterable[tuple[Draw, Arrays]]) -> None:
        """Extend in messages of bounded size.  What this party receives goes first, so that its message is on the way while
        the peer still works."""
        tasks = sorted(work, key=lambda task: task[0].sender == self.party)
        pairs = max((d.n + _PAIR - 1) // _PAIR for d, _ in tasks)
        step = max(1, _OTS_A_MESSAGE // (_PAIR * max(d.k for d, _ in tasks)))
        for start in range(0, pairs, step):
            now = min(step, pairs - start)
            for d, arrays in tasks:
                self._extend(d, arrays, start, now)

    def _extend(self, d: Draw, arrays: Arrays, start: int, now: int) -> None:
        if d.sender == self.party:
            message = self._channel.recv(self._ends.send.message_bytes(now, d.k))
            self._ends.send.extend(d.kind, d.k, d.w, d.n, arrays[0], start, now, message)
        else:
            message = np.empty(self._ends.receive.message_bytes(now, d.k), np.uint8)
            self._ends.receive.extend(d.kind, d.k, d.w, d.n, arrays[0], arrays[1], start, now, message)
            self._channel.send(message)


def _empty(d: Draw, party: int) -> Arrays:
    return tuple(np.empty(shape, dtype) for shape, dtype in d.shapes(party))


def _cut(whole: np.ndarray, start: int, span: int, n: int) -> np.ndarray:
    """Words [start, start + span) of the last axis; of an array of integers the n instances they stand for."""
    if whole.dtype == np.uint32:
        return np.ascontiguousarray(whole[..., 64 * start : 64 * start + n])
    return np.ascontiguousarray(whole[..., start : start + span])
