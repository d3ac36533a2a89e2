"""Correlations made on demand over a channel: base OT once a session, then OT extension, hashed straight to pads.

Adversary: semi-honest.  Assumptions: those of `ot.base` and of the extension (`ot.softspoken`).  Neither party learns anything
of the other's pads or choices; the lists of draws are public.  The 128-bit keys of the OTs never leave the native kernels:
what is stored is finished pads.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from blindsight.channel import Channel
from blindsight.fixed.rng import Rng, SystemRng
from blindsight.ot import ferret, softspoken
from blindsight.ot.correlations import Draw, Kind, words

Arrays = tuple[np.ndarray, ...]

# SoftSpoken is about twice as fast and sends 31 bits a random OT, Ferret under one: on a gigabit link they are level.
LINKS = {"fast": "softspoken-4", "lan": "ferret", "wan": "ferret"}
EXTENSIONS = ("softspoken-1", "softspoken-2", "softspoken-4", "softspoken-8", "ferret")
_PAIR = 256  # instances in a pair of tiles: the kernels' unit
_OTS_A_MESSAGE = (
    1 << 17
)  # one message covers this many OTs: both parties work at once, and memory stays small
_LONG = 1 << 14  # instances from which a draw is made by itself, without a copy


class Generator:
    """`Correlations` from OT extension with the peer at the other end of `channel`.

    Both parties construct it at the same point of the conversation (base OT runs in the constructor) and then ask for the
    same draws in the same order.

    Args:
        channel: link to the peer; its `party` decides who sends.
        link: "fast" (loopback, 10 Gbit/s and more), "lan" or "wan", both parties the same: chooses the extension where
            none is named.
        extension: one of `EXTENSIONS`.  `softspoken-k`: (128/k - 1)/8 bytes and 2^k/k AES blocks a random OT; `ferret`: under
            one bit a random OT, 0.6 MB of set-up.
        rng: source of all secrets; the operating system's by default.

    Raises:
        ChannelError: the peer vanished, broke the protocol, or was set up otherwise.
        ValueError: an unknown link or extension.
    """

    def __init__(
        self, channel: Channel, link: str = "fast", extension: str | None = None, rng: Rng | None = None
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
            self._channel.fail(
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

        Short draws of the same kind, sender, k and w are made as one run of instances and then cut, so that many of them
        cost what one long draw costs.  Both parties work all the time: each alternates between what it speaks for and
        what it listens to.  The caller owns the results.
        """
        runs = _joined(draws)
        made = [_Run(d, self.party) for d, _ in runs]
        agreed = hashlib.sha256(repr(list(draws)).encode()).digest()[:16]
        self._extend_all([task for run in made for task in run.tasks], agreed)
        out: list[Arrays] = [()] * len(draws)
        for run, (_, members) in zip(made, runs, strict=True):
            whole, start = run.result(), 0
            for i in members:
                span = words(draws[i].n)
                out[i] = (
                    whole if len(members) == 1 else tuple(_cut(a, start, span, draws[i].n) for a in whole)
                )
                start += span
        return out

    def _extend_all(self, tasks: Sequence[tuple[Draw, Arrays]], agreed: bytes) -> None:
        """Extend piece by piece: a message covers a bounded number of OTs, and each party's next message is on its way
        while the peer works on the last.  `agreed`, a digest of the list, goes first: two lists that differ would give
        correlations that do not match."""
        mine = [piece for task in tasks if self._speaks(task[0]) for piece in _pieces(*task)]
        theirs = [piece for task in tasks if not self._speaks(task[0]) for piece in _pieces(*task)]
        self._channel.send(agreed)
        if mine:
            self._extend(*mine.pop(0))
        if self._channel.recv(len(agreed)).tobytes() != agreed:
            self._channel.fail(
                "the two parties draw different correlations; load the same plan and code on both"
            )
        for listen, speak in itertools.zip_longest(theirs, mine):
            for piece in (listen, speak):
                if piece is not None:
                    self._extend(*piece)

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


class _Run:
    """One draw in the making: the extensions it takes (draw and this party's arrays), then its result."""

    def __init__(self, d: Draw, party: int) -> None:
        parts = [d] if d.kind != "triples" else [Draw("bits", s, 1, 1, d.n) for s in (party, 1 - party)]
        self.tasks = [
            (part, tuple(np.empty(shape, dtype) for shape, dtype in part.shapes(party))) for part in parts
        ]

    def result(self) -> Arrays:
        if len(self.tasks) == 1:
            return self.tasks[0][1]
        # A triple takes one 1-bit random OT each way.  Sending m0, m1: a = m0 ^ m1; receiving m_c: b = c; the cross terms
        # a_P b_Q = m0 ^ m_c are shared already (Asharov, Lindell, Schneider, Zohner, CCS 2013, on multiplication triples).
        (pads,), (choice, got) = self.tasks[0][1], self.tasks[1][1]
        m0, a, b = pads[0, 0], pads[0, 0] ^ pads[1, 0], choice[0]
        return a, b, (a & b) ^ m0 ^ got[0]


def _joined(draws: Sequence[Draw]) -> list[tuple[Draw, list[int]]]:
    """What to make, and which of `draws` it holds one after the other."""
    runs: list[tuple[Draw, list[int]]] = []
    short: dict[tuple[Kind, int, int, int], list[int]] = {}
    for i, d in enumerate(draws):
        if d.n >= _LONG:
            runs.append((d, [i]))
        else:
            short.setdefault((d.kind, d.sender, d.k, d.w), []).append(i)
    for (kind, sender, k, w), members in short.items():
        n = draws[members[0]].n if len(members) == 1 else 64 * sum(words(draws[i].n) for i in members)
        runs.append((Draw(kind, sender, k, w, n), members))
    return runs


def _pieces(d: Draw, arrays: Arrays) -> Iterator[tuple[Draw, Arrays, int, int]]:
    pairs, step = (d.n + _PAIR - 1) // _PAIR, max(1, _OTS_A_MESSAGE // (_PAIR * d.k))
    for start in range(0, pairs, step):
        yield d, arrays, start, min(step, pairs - start)


def _cut(whole: np.ndarray, start: int, span: int, n: int) -> np.ndarray:
    """Words [start, start + span) of the last axis; of an array of integers the n instances they stand for."""
    if whole.dtype == np.uint32:
        return np.ascontiguousarray(whole[..., 64 * start : 64 * start + n])
    return np.ascontiguousarray(whole[..., start : start + span])
