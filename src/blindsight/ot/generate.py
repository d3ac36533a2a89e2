"""Correlations made on demand over a channel: base OT once a session, then OT extension, hashed straight to pads.

Adversary: semi-honest.  Assumptions: those of `ot.base` and of the extension (`ot.softspoken`).  Neither party learns anything
of the other's pads or choices; the lists of draws are public.  The 128-bit keys of the OTs never leave the native kernels:
what is stored is finished pads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from blindsight.channel import Channel, ProtocolError
from blindsight.fixed.rng import Rng, SystemRng
from blindsight.ot import ferret, softspoken
from blindsight.ot.correlations import Draw, words

Arrays = tuple[np.ndarray, ...]

LINKS = {"lan": "softspoken-4", "wan": "ferret"}
EXTENSIONS = ("softspoken-1", "softspoken-2", "softspoken-4", "softspoken-8", "ferret")
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
        link: "lan" or "wan", both parties the same: chooses the extension where none is named.
        extension: one of `EXTENSIONS`.  `softspoken-k`: (128/k - 1)/8 bytes and 2^k/k AES blocks a random OT; `ferret`: under
            one bit a random OT, 0.6 MB of set-up.
        rng: source of all secrets; the operating system's by default.

    Raises:
        ChannelError: the peer vanished, broke the protocol, or was set up otherwise.
        ValueError: an unknown link or extension.
    """

    def __init__(
        self, channel: Channel, link: str = "lan", extension: str | None = None, rng: Rng | None = None
    ) -> None:
        if link not in LINKS:
            raise ValueError(f"link profile is one of {', '.join(LINKS)}, not {link!r}")
        self.extension = extension or LINKS[link]
        if self.extension not in EXTENSIONS:
            raise ValueError(f"OT extension is one of {', '.join(EXTENSIONS)}, not {extension!r}")
        self.party = channel.party
        self._channel = channel
        self._ends = self._set_up(rng or SystemRng())

    def _set_up(self, rng: Rng) -> softspoken.Ends | ferret.Ends:
        mine = self.extension.encode().ljust(16)
        theirs = self._channel.exchange(mine, 16).tobytes()
        if theirs != mine:
            name = theirs.decode("ascii", "replace").strip()
            raise ProtocolError(
                f"this party extends OT by {self.extension}, the peer by {name}; set both to the same link profile"
            )
        if self.extension == "ferret":
            return ferret.set_up(self._channel, ferret.STANDARD, rng)
        return softspoken.set_up(self._channel, int(self.extension.removeprefix("softspoken-")), rng)

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
        """Extend in messages of bounded size.  What this party speaks for goes first, so that its message is on the way while
        the peer still works."""
        tasks = sorted(work, key=lambda task: self._speaks(task[0]), reverse=True)
        pairs = max((d.n + _PAIR - 1) // _PAIR for d, _ in tasks)
        step = max(1, _OTS_A_MESSAGE // (_PAIR * max(d.k for d, _ in tasks)))
        for start in range(0, pairs, step):
            now = min(step, pairs - start)
            for d, arrays in tasks:
                self._extend(d, arrays, start, now)

    def _speaks(self, d: Draw) -> bool:
        return (d.sender == self.party) == self._ends.sender_speaks

    def _extend(self, d: Draw, arrays: Arrays, start: int, now: int) -> None:
        end = self._ends.send if d.sender == self.party else self._ends.receive
        nbytes = end.message_bytes(now, d.k)
        if self._speaks(d):
            message = np.empty(nbytes, np.uint8)
            end.extend(d.kind, d.k, d.w, d.n, *arrays, start, now, message)
            if nbytes:
                self._channel.send(message)
        else:
            message = self._channel.recv(nbytes) if nbytes else np.empty(0, np.uint8)
            end.extend(d.kind, d.k, d.w, d.n, *arrays, start, now, message)


def _empty(d: Draw, party: int) -> Arrays:
    return tuple(np.empty(shape, dtype) for shape, dtype in d.shapes(party))


def _cut(whole: np.ndarray, start: int, span: int, n: int) -> np.ndarray:
    """Words [start, start + span) of the last axis; of an array of integers the n instances they stand for."""
    if whole.dtype == np.uint32:
        return np.ascontiguousarray(whole[..., 64 * start : 64 * start + n])
    return np.ascontiguousarray(whole[..., start : start + span])
