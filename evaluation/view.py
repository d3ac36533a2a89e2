"""What one server saw of N pictures, reduced to numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from blindsight.evaluation.bits import Bits

PARTIES = ("cloud", "helper")
BUCKETS, WORDS = 256, 10  # of a message: sums by place; first words


@dataclass
class View:
    """One server's view of N pictures.

    Attributes:
        shares: its share of the network's inner values, tensor name -> uint32 (N, size); `pixels` and `result` among them.
        opened: what was opened to it less what it knows of the mask, tensor name -> uint32 (N, size): x - r, in
            `concealed` plus its own part of r, that is x less the other's part; empty where nothing is opened.
        guess: uint8 (N, pixels), the picture as far as the ingest shows it to this server.
        ingest: uint16 (N, pixels), this server's 10-bit ingest share.
        phase: uint32 (N, pixels), the v in [0, q) that the helper decrypts; (N, 0) at the cloud.
        messages: float32 (N, F), statistics of every message received and of its own material.
        heads: int32 (N, M, WORDS), the first words of each of these, zeros where there are fewer.
        times: float32 (N, T), seconds of each step.
        sizes: int64 (N, S), bytes of each message received, then of each sent, then rounds.
        bits: counts of the bits of the messages received, but for the public ones, of two kinds of pictures.
        received: on request, the messages of each picture as they were. offline: those between pictures.
    """

    shares: dict[str, np.ndarray]
    opened: dict[str, np.ndarray]
    guess: np.ndarray
    ingest: np.ndarray
    phase: np.ndarray
    messages: np.ndarray
    heads: np.ndarray
    times: np.ndarray
    sizes: np.ndarray
    bits: Bits
    received: list[list[bytes]] = field(default_factory=list)
    offline: list[bytes] = field(default_factory=list)


ARRAYS = ("guess", "ingest", "phase", "messages", "heads", "times", "sizes")


def joined(parts: Sequence[View]) -> View:
    """The view of the pictures of all parts, in order; raw messages are left out."""

    def tables(name: str) -> dict[str, np.ndarray]:
        return {k: np.concatenate([getattr(p, name)[k] for p in parts]) for k in getattr(parts[0], name)}

    arrays: dict[str, Any] = {name: np.concatenate([getattr(p, name) for p in parts]) for name in ARRAYS}
    bits = reduce(add, (p.bits for p in parts), Bits.none())
    return View(tables("shares"), tables("opened"), bits=bits, **arrays)


def some(view: View, pick: np.ndarray) -> View:
    """The view of the pictures at these indices; the counts of bits stay those of all."""
    shares, opened = ({k: v[pick] for k, v in table.items()} for table in (view.shares, view.opened))
    arrays: dict[str, Any] = {name: getattr(view, name)[pick] for name in ARRAYS}
    return View(shares, opened, bits=view.bits, **arrays)


_ONES = np.bitwise_count(np.arange(256, dtype=np.uint8)).astype(np.float64)
_VALUES = np.arange(256, dtype=np.float64)


def heads(messages: list[bytes]) -> np.ndarray:
    """The first words of each message: int32 (M, WORDS)."""
    size = 4 * WORDS
    return np.stack([np.frombuffer(m[:size].ljust(size, b"\0"), "<i4") for m in messages])


def statistics(messages: list[bytes]) -> np.ndarray:
    """Numbers that show what a message's bytes are, were they anything but uniform: for each message mean, deviation and
    share of ones; of all together sums in `BUCKETS` buckets by place.
    """
    out, total = [], np.zeros(BUCKETS, np.int64)
    for message in messages:
        data = np.frombuffer(message, np.uint8)
        share = np.bincount(data, minlength=256) / data.size
        mean = float(share @ _VALUES)
        out += [mean, math.sqrt(max(0.0, float(share @ _VALUES**2) - mean**2)), float(share @ _ONES)]
        whole = len(data) // BUCKETS * BUCKETS
        total += data[:whole].reshape(-1, BUCKETS).sum(axis=0, dtype=np.int64)
        total[: len(data) - whole] += data[whole:]
    return np.concatenate([out, total]).astype(np.float32)
