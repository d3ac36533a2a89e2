"""A helper worker: answers the requests of one connection, one after the other (docs/wire.md section 7).

Holds device keys and its share of the result. Adversary: the cloud, semi-honest, damage-limited where it is
not (`check`, `store`). Shares wait in memory until the cloud has made its own durable and asks; they leave
sealed under the result key, which only the device shares.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from blindsight.channel import Channel
from blindsight.he.secret.ingest import keystream_share, open_masked
from blindsight.helper.check import Checked, check
from blindsight.helper.config import HelperConfig
from blindsight.helper.keys import Keys
from blindsight.helper.plans import Plans
from blindsight.helper.store import Store
from blindsight.nn.plan import Plan
from blindsight.service.engine import PairEngine, Program
from blindsight.service.logs import Log
from blindsight.service.metrics import Metrics
from blindsight.wire import jobs, keys
from blindsight.wire.blocks import Mode
from blindsight.wire.result import Context, Reveal, seal

Load = Callable[[Plan, bytes], Program]


@dataclass(frozen=True)
class Waiting:
    """A share that waits to be sealed."""

    attempt: int
    context: Context
    result_key: bytes = field(repr=False)
    share: np.ndarray = field(repr=False)


class Shares:
    """Unsealed shares of finished attempts, in memory only, for all connections. The oldest give way: they
    run again.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: OrderedDict[tuple[str, bytes], Waiting] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, waiting: Waiting) -> None:
        """Keeps a share; one of an earlier attempt goes."""
        key = (waiting.context.device, waiting.context.image)
        with self._lock:
            self._held.pop(key, None)
            self._held[key] = waiting
            while len(self._held) > self._limit:
                self._held.popitem(last=False)

    def get(self, device: str, image: bytes, attempt: int) -> Waiting | None:
        """The share of this attempt."""
        with self._lock:
            waiting = self._held.get((device, image))
            return waiting if waiting is not None and waiting.attempt == attempt else None

    def drop(self, device: str, image: bytes) -> None:
        """Forgets a sealed share."""
        with self._lock:
            self._held.pop((device, image), None)


class Worker:
    """Serves one connection. `program` finds the network of a plan and weights version."""

    def __init__(
        self, channel: Channel, engine: PairEngine, config: HelperConfig, plans: Plans, key_store: Keys, store: Store,
        shares: Shares, load: Load, metrics: Metrics, log: Log,
    ) -> None:  # fmt: skip
        self._channel, self._engine, self._config, self._plans = channel, engine, config, plans
        self._keys, self._store, self._shares, self._load = key_store, store, shares, load
        self._metrics, self._log = metrics, log
        self._serving = plans.serving()

    def serve(self, stop: threading.Event) -> None:
        """Answers until the peer leaves, the plans change, or `stop`; raises `ChannelError` when the link
        fails.
        """
        while not stop.is_set():
            request = jobs.parse_request(self._channel.recv_control())
            if request is None:
                self._channel.send_control(jobs.PONG)
                if self._plans.serving() != self._serving:
                    return  # the next HELLO names the new plans
                continue
            try:
                self._answer(request)
            except jobs.Refused as refusal:
                self._metrics.count("refused", code=str(int(refusal.code)))
                device = getattr(request, "device", "")
                image = getattr(request, "image", b"").hex()
                self._log.warning(
                    "refused",
                    op=request.OP,
                    device=device,
                    image=image,
                    code=int(refusal.code),
                    detail=refusal.reason,
                )
                self._channel.send_control(refusal.message())

    def _answer(self, request: jobs.Request) -> None:
        if isinstance(request, jobs.Seal):
            self._seal(request)
        elif isinstance(request, jobs.Infer):
            self._infer(request)
        else:
            plan = self._plan(request.model, request.plan_hash)
            if plan is None:
                raise jobs.Refused(3, f"the helper has no plan of this hash for {request.model}")
            program = self._load(plan, request.version)
            if isinstance(request, jobs.Pool):
                mine = self._engine.pool(program, request.ingest)
                self._engine.merge(program, request)
                self._channel.send_control(mine.to_json())
            else:
                self._channel.send_control(jobs.ACCEPT)
                self._engine.make(program, request)
                self._metrics.count("material_made", request.slots)

    def _plan(self, name: str, plan_hash: bytes) -> Plan | None:
        return self._serving.get(name, {}).get(plan_hash)

    def _infer(self, request: jobs.Infer) -> None:
        data = self._channel.recv(request.manifest).tobytes()
        polys = self._channel.recv(request.polys).tobytes() if request.polys else b""
        plan = self._plan(request.model, request.plan_hash)
        checked = check(request, plan, data, polys, self._keys, self._store, self._config.limits)
        assert plan is not None  # `check` refuses otherwise
        program = self._load(plan, request.version)
        self._channel.send_control(jobs.ACCEPT)
        pixels, base = _open(checked, polys)
        share = self._engine.run(program, checked.manifest.mode, request.slot, pixels)
        reveal = Reveal.named(plan.reveal.mode)  # the helper's own copy decides what the device sees
        context = Context(
            request.device, request.image, checked.digest, request.plan_hash, reveal, request.attempt
        )
        key = keys.result_key(base, request.device, request.image, checked.digest)
        self._shares.put(Waiting(request.attempt, context, key, share))
        self._metrics.count("runs", mode=checked.manifest.mode.label)
        self._log.info("ran", device=request.device, image=request.image.hex(), attempt=request.attempt)

    def _seal(self, request: jobs.Seal) -> None:
        waiting = self._shares.get(request.device, request.image, request.attempt)
        make = None if waiting is None else lambda: seal(waiting.result_key, waiting.context, waiting.share)
        data = self._store.sealed(request.device, request.image, request.attempt, make)
        self._shares.drop(request.device, request.image)
        self._channel.send_control({"op": "sealed", "bytes": len(data)})
        self._channel.send(data)
        self._metrics.count("sealed")
        self._log.info("sealed", device=request.device, image=request.image.hex(), attempt=request.attempt)


def _open(checked: Checked, polys: bytes) -> tuple[np.ndarray, bytes]:
    """(ingest shares of the pixels, base of the result key)."""
    layout, mode = checked.manifest.layout, checked.manifest.mode
    if mode is Mode.AES:
        return keystream_share(layout, checked.keys.aes_key, checked.manifest.nonce), checked.keys.result_base
    secret = checked.keys.secret_key(mode)
    try:
        shares, base = open_masked(layout, polys, secret)
    finally:
        secret.wipe()
    return shares, checked.keys.result_base if base is None else base
