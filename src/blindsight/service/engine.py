"""One party's two-party machinery on one connection: material pools, ingest, network. Both services use it
alike.

Adversary: the other server, semi-honest; and crashes at any point. A slot is burnt durably at both parties
before the first byte that depends on it, a pool belongs to one worker pair, and nothing resumes in the middle
of a run: after any error the connection is dropped and the next attempt takes new material (DESIGN section
6).
"""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from blindsight.channel import Channel
from blindsight.mpc.ingest import PixelsFromMask, PixelsFromXor
from blindsight.mpc.session import Session
from blindsight.nn.network import Network, Trace, Watch
from blindsight.nn.plan import Plan
from blindsight.offline.make import LinearSide, fitting, layout, make_batch
from blindsight.offline.slot import Tape
from blindsight.offline.store import Store
from blindsight.ot.correlations import Draw
from blindsight.ot.generate import Generator
from blindsight.wire.blocks import Mode
from blindsight.wire.jobs import MakeMaterial, Pool

Share = np.ndarray


def ingest_kind(mode: Mode) -> str:
    """How the pixels of a mode are shared when they arrive: `mask` (10-bit shares) or `xor` (bytes)."""
    return "xor" if mode is Mode.AES else "mask"


def split_version(split: str) -> bytes:
    """The version of a concealed model's weights, 32 bytes: both servers get it from the `split` of their
    share.
    """
    return hashlib.sha256(b"blindsight/1 split" + bytes.fromhex(split)).digest()


@dataclass(frozen=True)
class Program:
    """A model as one party runs it: `version` names the weights (32 bytes; opaque to the helper)."""

    name: str
    version: bytes
    network: Network
    linear: LinearSide

    @property
    def plan(self) -> Plan:
        """The public plan."""
        return self.network.plan

    @property
    def pixels(self) -> int:
        """Pixel bytes of a picture."""
        return self.plan.height * self.plan.width * self.plan.channels

    def fitting(self, kind: str) -> int:
        """How many slots of an ingest kind to make together: as many as memory should hold, at most 16."""
        return fitting(self.network, _ingest_draws(self, kind))


class PairEngine(Protocol):
    """What the workers need of a connection; `Engine` is the real one."""

    def left(self, program: Program, kind: str) -> int: ...
    def next(self, program: Program, kind: str) -> int: ...
    def end(self, program: Program, kind: str) -> int: ...
    def pool(self, program: Program, kind: str) -> Pool: ...
    def merge(self, program: Program, peer: Pool) -> None: ...
    def make(self, program: Program, request: MakeMaterial) -> None: ...
    def run(self, program: Program, mode: Mode, slot: int, pixels: np.ndarray) -> Share: ...
    def close(self) -> None: ...


class Engine:
    """The real machinery. Made at both ends right after HELLO (base OT runs here); stores lie under
    `folder`. `trace` and `watch` follow every run (`Network.run`); the ingest is the plan's input operation,
    its shares in capture order.
    """

    def __init__(
        self,
        channel: Channel,
        folder: Path,
        link: str = "lan",
        trace: Trace | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._channel, self._folder = channel, folder
        self._trace, self._watch = trace, watch
        self._stores: dict[str, Store] = {}
        self._generator = Generator(channel, link=link)

    def left(self, program: Program, kind: str) -> int:
        """Slots at hand."""
        return self._store(program, kind).left

    def next(self, program: Program, kind: str) -> int:
        """The first index that can still be used."""
        store = self._store(program, kind)
        usable = [max(b.first, store.cursor) for b in store.batches if b.first + b.count > store.cursor]
        return min(usable, default=store.end)

    def end(self, program: Program, kind: str) -> int:
        """Where the next batch begins."""
        return self._store(program, kind).end

    def pool(self, program: Program, kind: str) -> Pool:
        """What this side holds, for the other to compare."""
        store = self._store(program, kind)
        batches = tuple((b.id, b.first, b.count) for b in store.batches)
        return Pool(program.name, program.plan.hash, program.version, kind, store.cursor, batches)

    def merge(self, program: Program, peer: Pool) -> None:
        """Jumps to the higher cursor and drops batches the peer lacks."""
        store = self._store(program, peer.ingest)
        store.jump(peer.cursor)
        store.keep_common(list(peer.batches))

    def make(self, program: Program, request: MakeMaterial) -> None:
        """Makes a batch together with the peer and stores it durably."""
        draws = _ingest_draws(program, request.ingest)
        slots = make_batch(
            self._channel,
            program.network,
            program.linear,
            self._generator,
            request.slots,
            request.first,
            draws,
        )
        form = layout(program.network, self._channel.party, draws)
        packed = [form.pack(slot) for slot in slots]
        self._store(program, request.ingest).append(request.batch.hex(), request.first, packed)

    def run(self, program: Program, mode: Mode, slot: int, pixels: np.ndarray) -> Share:
        """Ingest and network on this party's ingest shares: uint16 10-bit shares (`mask`) or uint8 bytes
        (`xor`).

        Returns this party's share of the result, uint32 [count].
        """
        kind = ingest_kind(mode)
        form = layout(program.network, self._channel.party, _ingest_draws(program, kind))
        data = self._store(program, kind).reserve(slot)
        material = form.unpack(data, slot)
        tape = Tape(material.draws)
        protocol = _protocol(kind)
        first = program.plan.ops[0]
        with self._trace(first) if self._trace else nullcontext():
            share = protocol.run(Session(self._channel, tape), pixels)
        if self._watch:
            self._watch(first, share)
        return program.network.run(self._channel, tape, material, share, self._trace, self._watch)

    def close(self) -> None:
        """Closes the stores, so that the pair's next connection can open them."""
        for store in self._stores.values():
            store.close()
        self._stores.clear()

    def _store(self, program: Program, kind: str) -> Store:
        name = f"{program.plan.hash.hex()[:16]}-{program.version.hex()[:16]}-{kind}"
        if name not in self._stores:
            form = layout(program.network, self._channel.party, _ingest_draws(program, kind))
            self._stores[name] = Store(self._folder / name, form.nbytes)
        return self._stores[name]


def _protocol(kind: str) -> PixelsFromMask | PixelsFromXor:
    return PixelsFromXor() if kind == "xor" else PixelsFromMask()


def _ingest_draws(program: Program, kind: str) -> list[Draw]:
    return _protocol(kind).draws(program.pixels)
