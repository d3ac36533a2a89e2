"""Both servers on encrypted pictures, each server's view recorded: the real protocols, in two threads.

A view is all that reaches a server: device messages, what the peer sends, its own shares, openings and material, how
long each step took and how long each message was. Views are reduced to numbers here, picture by picture; raw messages
are not kept. Not in it: messages of the offline phase (no picture is known yet), material past its first 64 KiB (pads of
oblivious transfer) and the workers' control messages; the ingest mode is `rlwe`. Both parties are threads of one process,
so the times are not those of two machines.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from blindsight.channel import Recorder, memory_pair
from blindsight.client.encrypt import encrypt
from blindsight.client.identity import Identity
from blindsight.cloud.own_key import concealed_side as cloud_side
from blindsight.evaluation import tampered
from blindsight.evaluation.bits import Bits
from blindsight.evaluation.view import View, heads, statistics
from blindsight.he.ingest import mask, unpack
from blindsight.he.ingest import share as tenbit
from blindsight.he.secret.ingest import SecretKey, decrypt_masked, public_key
from blindsight.helper.linear import concealed_side, helper_side
from blindsight.mpc.ingest import PixelsFromMask
from blindsight.mpc.session import Session
from blindsight.nn.linear import CloudSide
from blindsight.nn.model import Model
from blindsight.nn.network import Network
from blindsight.nn.ops import Op
from blindsight.nn.plan import Plan
from blindsight.nn.shares import ModelShare, split
from blindsight.nn.steps import Run, Step
from blindsight.offline.make import layout as slot_layout
from blindsight.offline.make import make_batch
from blindsight.offline.slot import Slot, Tape
from blindsight.ot.generate import Generator
from blindsight.wire import keys, manifest
from blindsight.wire.blocks import C0_BITS, DEGREE, Layout, Mode
from blindsight.wire.result import Context, Reveal, seal, sealed_bytes

PER_BLOCK, BATCH = 4, 16
MATERIAL = (
    1 << 16
)  # bytes of the own material that are looked at: all masks and linear shares, the first pads
PUBLIC = (0, 1)  # messages that come first and are public: to the helper the manifest


@dataclass
class _Row:
    """The same of one picture, in the making."""

    shares: dict[str, np.ndarray] = field(default_factory=dict)
    opened: dict[str, np.ndarray] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    seen: list[bytes] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    offline: list[bytes] = field(default_factory=list)
    guess: np.ndarray | None = None
    ingest: np.ndarray | None = None
    phase: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint32))
    sizes: list[int] = field(default_factory=list)

    @contextmanager
    def clock(self, op: Op | None = None) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.times.append(time.perf_counter() - start)


class Watched(Network):
    """A network that keeps what passes through it: own shares, and the openings of linear inputs."""

    def __init__(self, plan: Plan, weights: Any) -> None:
        super().__init__(plan, weights)
        self.row = _Row()
        self._steps = [(op, _Watch(op, step, self)) for op, step in self._steps]


class _Watch:
    def __init__(self, op: Op, step: Step, network: Watched) -> None:
        self._op, self._step, self._network = op, step, network
        self._weighted = op in network.plan.weighted

    def draws(self) -> list[Any]:
        return self._step.draws()

    def run(self, run: Run) -> np.ndarray:
        out, row = self._step.run(run), self._network.row
        row.shares[self._op.out] = out.reshape(-1).copy()
        name = self._op.inputs[0]
        if self._weighted and run.opened[name].size:
            row.opened[name] = run.opened[name].reshape(-1).copy()
        return out


@dataclass(frozen=True)
class Device:
    """The one device of the evaluation: what provisioning gives it, and the helper's key for it."""

    who: Identity
    rlwe_seed: bytes

    @classmethod
    def of(cls, plan: Plan) -> Device:
        master = os.urandom(32)
        seed = keys.rlwe_secret_seed(master, "eval", 0)
        shape = (plan.height, plan.width, plan.channels)
        secret = keys.device_secret(master, "eval", 0)
        who = Identity("eval", secret, public_key(seed), 0, Mode.RLWE, plan.name, plan.hash, shape, PER_BLOCK)
        return cls(who, seed)


def sides(path: Path, deployment: str) -> list[tuple[Plan, Any, Any]]:
    """(plan, weights, linear side) of each party; a concealed model is split afresh."""
    model = Model.load(path)
    if deployment == "cloud-owned":
        plan = Plan.from_json(model.plan.to_json())
        return [(model.plan, model.ints, CloudSide(model.plan, model.ints)), (plan, None, helper_side(plan))]
    cloud, helper = split(model)
    return [_concealed(cloud, cloud_side), _concealed(helper, concealed_side)]


def _concealed(share: ModelShare, side: Any) -> tuple[Plan, Any, Any]:
    return share.plan, share.tensors, side(share.plan, share.tensors)


def record(
    path: Path,
    deployment: str,
    pictures: np.ndarray,
    tamper: tuple[str, ...] = (),
    keep: set[str] | None = None,
    raw: bool = False,
    kinds: np.ndarray | None = None,
) -> tuple[View, View]:
    """The views of cloud and helper while they classify `pictures`, uint8 (N, H, W, C), in this order.

    Args:
        path: M.bsm. deployment: `cloud-owned` or `concealed`.
        tamper: of `tampered.TAMPERS`; none: the real thing.
        keep: the tensors of interest; None: all.
        raw: keep the messages themselves too (some 100 KB a picture).
        kinds: bool (N,), which of two kinds each picture is of, for `View.bits`; None: in turns.

    Raises:
        ChannelError: a party failed.
    """
    both, ends = sides(path, deployment), memory_pair(timeout=120)
    device = Device.of(both[0][0])
    parcels = [encrypt(device.who, i, p.tobytes()) for i, p in enumerate(pictures)]
    rows: list[list[_Row]] = [[], []]
    failures: list[BaseException] = []

    def go(party: int) -> None:
        try:
            rows[party] = _Party(party, ends[party], both[party], device, tamper).run(parcels)
        except BaseException as error:
            failures.append(error)
            ends[party].close()

    helper = threading.Thread(target=go, args=(1,), daemon=True)
    helper.start()
    go(0)
    helper.join()
    if failures:
        raise failures[0]
    if kinds is None:
        kinds = np.arange(len(pictures)) % 2 == 1
    return _view(rows[0], keep, raw, kinds, PUBLIC[0]), _view(rows[1], keep, raw, kinds, PUBLIC[1])


class _Party:
    """One server: the steps of the services' workers, without store and broker."""

    def __init__(
        self, party: int, channel: Any, side: tuple[Plan, Any, Any], device: Device, tamper: tuple[str, ...]
    ) -> None:
        self.party, self.device, self.tamper = party, device, tamper
        self.channel: Any = Recorder(channel, transcript=True)
        plan, weights, self.linear = side
        self.network = Watched(plan, weights)
        self.pixels = plan.height * plan.width * plan.channels
        self.layout = Layout(Mode.RLWE, self.pixels, PER_BLOCK)
        self.ingest = PixelsFromMask()
        self.form = slot_layout(self.network, party, self.ingest.draws(self.pixels))

    def run(self, parcels: list[Any]) -> list[_Row]:
        source, rows = Generator(self.channel), []
        for start in range(0, len(parcels), BATCH):
            some = parcels[start : start + BATCH]
            slots = make_batch(
                self.channel, self.network, self.linear, source, len(some),
                ingest=self.ingest.draws(self.pixels), rng=tampered.masks(self.tamper, len(some), self.party),
            )  # fmt: skip
            rows += [self._picture(parcel, slot) for parcel, slot in zip(some, slots, strict=True)]
        self.channel.close()
        return rows

    def _picture(self, parcel: Any, slot: Slot) -> _Row:
        row, channel = _Row(), self.channel
        self.network.row = row
        own, row.offline = self.form.pack(slot)[:MATERIAL], list(channel.received)
        channel.received.clear()
        channel.sent.clear()
        rounds = channel.stats.rounds
        masks = {name: r.copy() for name, r in slot.masks.items()}  # the run uses them up
        with row.clock():
            if self.party == 0:
                self._cloud(parcel, row, slot)
            else:
                self._helper(parcel, row, slot)
        row.opened = {name: value + masks.get(name, np.uint32(0)) for name, value in row.opened.items()}
        row.received = list(channel.received)
        row.seen += [own, *row.received]
        row.sizes += [len(m) for m in (*channel.received, *channel.sent)] + [channel.stats.rounds - rounds]
        return row

    def _classify(self, row: _Row, slot: Slot, share: np.ndarray) -> np.ndarray:
        tape = Tape(slot.draws)
        with row.clock():
            pixels = self.ingest.run(Session(self.channel, tape), share)
        row.shares["pixels"] = pixels.copy()
        row.shares["result"] = self.network.run(self.channel, tape, slot, pixels, row.clock)
        return row.shares["result"]

    def _cloud(self, parcel: Any, row: _Row, slot: Slot) -> None:
        blocks = [payload for _, payload in parcel.messages[:-1]]
        signed, _ = manifest.split_salt(parcel.messages[-1][1])
        row.seen += [parcel.messages[-1][1], *blocks]
        polys, row.ingest = mask(self.layout, blocks, tampered.ingest(self.tamper))
        row.guess = _top_bits(self.layout, blocks)
        self.channel.send(signed)
        self.channel.send(polys)
        self._classify(row, slot, row.ingest)
        self.channel.recv(sealed_bytes(self.network.result_count))

    def _helper(self, parcel: Any, row: _Row, slot: Slot) -> None:
        signed = self.channel.recv(len(parcel.messages[-1][1]) - manifest.SALT_BYTES).tobytes()
        size = sum(self.layout.masked_bytes(p) for p in range(self.layout.polys))
        key = SecretKey(self.device.rlwe_seed)
        row.phase, base = decrypt_masked(self.layout, self.channel.recv(size).tobytes(), key)
        row.ingest = tenbit(row.phase)
        key.wipe()
        assert base is not None  # mode `rlwe` carries the key
        row.guess = (row.ingest >> 2).astype(np.uint8)
        result = self._classify(row, slot, row.ingest)
        who, digest = self.device.who, manifest.manifest_hash(signed)
        context = Context(who.device, parcel.image, digest, who.plan_hash, Reveal.named("top1"), 1)
        self.channel.send(seal(keys.result_key(base, who.device, parcel.image, digest), context, result))


def _top_bits(layout: Layout, blocks: list[bytes]) -> np.ndarray:
    """The top eight bits of every pixel's c0: what a ciphertext shows to someone who takes it for the picture."""
    out = []
    for i, poly in enumerate(p for b, block in enumerate(blocks) for p in layout.split(b, block)):
        c0 = unpack(poly[layout.head_bytes :], layout.used(i), C0_BITS[Mode.RLWE])
        out.append((c0[: layout.pixels_in(i)] >> (C0_BITS[Mode.RLWE] - 8)).astype(np.uint8))
    assert len(out) * DEGREE >= layout.pixels
    return np.concatenate(out)


def _view(rows: list[_Row], keep: set[str] | None, raw: bool, kinds: np.ndarray, public: int) -> View:
    bits = Bits.none()
    for row, kind in zip(rows, kinds, strict=True):
        bits.add(int(kind), row.received[public:])

    def table(name: str) -> dict[str, np.ndarray]:
        names = [key for key in getattr(rows[0], name) if keep is None or key in keep]
        return {key: np.stack([getattr(row, name)[key] for row in rows]) for key in names}

    return View(
        table("shares"),
        table("opened"),
        np.stack([row.guess for row in rows if row.guess is not None]),
        np.stack([row.ingest for row in rows if row.ingest is not None]),
        np.stack([row.phase for row in rows]),
        np.stack([statistics(row.seen) for row in rows]),
        np.stack([heads(row.seen) for row in rows]),
        np.array([row.times for row in rows], np.float32),
        np.array([row.sizes for row in rows], np.int64),
        bits,
        [row.received for row in rows] if raw else [],
        [m for row in rows for m in row.offline] if raw else [],
    )
