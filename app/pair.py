"""`LocalPair`: cloud and helper as two processes on this machine, for programs and notebooks.

The caller shares each picture between the two, so it plays the picture's owner: it alone learns the results. Each process
holds what its party may hold (the model or the public plan) and one half of every number. For a deployment on two
machines of two operators there are `blindsight cloud` and `blindsight helper`.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from blindsight.app.infer import flat_pixels, revealed, servers_files, top_classes
from blindsight.app.modelfile import find_model
from blindsight.app.party import Task
from blindsight.app.party_process import PartyProcess
from blindsight.channel import WAN, Link
from blindsight.fixed.rng import SystemRng, uniform_u32
from blindsight.nn.plan import Plan
from blindsight.offline.make import MAX_BATCH

FAR_RTT_S = 0.01  # from here on the protocols of fewer rounds


class PairError(Exception):
    """A server failed or the pair is closed; one line that says why."""


@dataclass(frozen=True)
class Layer:
    """What one operation cost online: wall-clock seconds, bytes both ways, rounds."""

    name: str
    kind: str
    shape: tuple[int, ...]
    seconds: float
    bytes: int
    rounds: int


@dataclass(frozen=True)
class Result:
    """The answer for one picture and what it cost.

    Attributes:
        index, label: the first class and its name.
        revealed: what the model's owner reveals: class indices (`top1`, `topk`) or numbers (`logits`, `probabilities`).
        seconds, bytes, rounds: online, both parties and both ways.
        offline_seconds, offline_bytes: this picture's part of the material made beforehand.
        layers: online, one after another.
    """

    index: int
    label: str
    revealed: tuple[float, ...]
    seconds: float
    bytes: int
    rounds: int
    offline_seconds: float
    offline_bytes: float
    layers: tuple[Layer, ...]


class LocalPair:
    """Both servers, from `with` to its end.

    >>> with LocalPair("mnist") as pair:  # doctest: +SKIP
    ...     result = pair.classify(picture)

    Args:
        model: a zoo name, M.bsm, or the folder of a split model.
        link: the line between the servers: None is this machine's loopback, `WAN` or any `Link` is modelled.
        batch: inferences whose material is made together when there is none left, 1 to 16.
        threads: threads a server; None: as many as there are cores.
    """

    def __init__(
        self, model: str | Path, *, link: Link | None = None, batch: int = 1, threads: int | None = None
    ) -> None:
        if not 1 <= batch <= MAX_BATCH:
            raise ValueError(f"batch is 1 to {MAX_BATCH}, not {batch}")
        self._path = find_model(str(model))
        self._link, self._batch = link, batch
        self._threads = threads or len(os.sched_getaffinity(0))
        self._stack: contextlib.ExitStack | None = None
        self._made: list[tuple[float, float]] = []  # (seconds, bytes) of each slot at hand

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            plan, paths, _ = stack.enter_context(servers_files(self._path))
            self.plan: Plan = plan
            far = self._link is not None and self._link.rtt_s >= FAR_RTT_S
            line = {"bits_per_s": self._link.bits_per_s, "rtt_s": self._link.rtt_s} if self._link else {}
            cloud, helper = (
                Task(party, str(path), 0, self._batch, self._threads, "wan" if far else "lan", **line)
                for party, path in enumerate(paths)
            )
            began = time.perf_counter()
            second = _start(helper, stack)
            port = second.hear("port")["port"]
            self._servers = (_start(replace(cloud, port=port), stack), second)
            for server in self._servers:
                server.hear("ready")
            self.setup_seconds = time.perf_counter() - began
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends both processes; material not used is gone."""
        if self._stack is not None:
            self._stack.close()
            self._stack = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.plan.labels or tuple(str(i) for i in range(self.plan.classes))

    @property
    def ready(self) -> int:
        """Pictures for which there is material."""
        return len(self._made)

    def prepare(self, count: int) -> None:
        """Makes material for so many pictures now; needs no picture."""
        while count > 0:
            part = min(count, MAX_BATCH)
            cloud, _ = self._both({"make": part}, "made")
            self._made += [(cloud["seconds"] / part, cloud["bytes"] / part)] * part
            count -= part

    def classify(self, picture: np.ndarray) -> Result:
        """One picture, uint8 (H, W) or (H, W, C), of the model's size."""
        if picture.ndim not in (2, 3):
            raise ValueError(
                f"one picture is (H, W) or (H, W, C), not {picture.shape}; classify_many takes several"
            )
        pixels = flat_pixels(self.plan, picture[None])[0]
        if not self._made:
            self.prepare(self._batch)
        helper_share = uniform_u32(SystemRng(), pixels.shape)
        shares = (pixels.astype(np.uint32) - helper_share, helper_share)
        seconds, size = self._made.pop(0)
        cloud, helper = self._both({"run": 4 * pixels.size}, "ran", shares)
        words = np.array([cloud["share"]], np.uint32) + np.array([helper["share"]], np.uint32)
        index = int(top_classes(self.plan, words)[0])
        top1 = self.plan.reveal.mode == "top1"
        return Result(
            index, self.labels[index], (float(index),) if top1 else tuple(map(float, revealed(self.plan, words)[0])),
            cloud["seconds"], cloud["bytes"], cloud["rounds"], seconds, size,
            tuple(
                Layer(name, row["op"], tuple(row["shape"]), row["online_s"], row["online_bytes"], row["rounds"])
                for name, row in cloud["layers"].items()
            ),
        )  # fmt: skip

    def classify_many(self, pictures: Iterable[np.ndarray]) -> list[Result]:
        """Several pictures, one after the other."""
        return [self.classify(picture) for picture in pictures]

    def _both(
        self, request: dict[str, int], answer: str, data: tuple[np.ndarray, np.ndarray] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        if self._stack is None:
            raise PairError("the pair is not running: use it inside `with LocalPair(...) as pair:`")
        try:
            for i, server in enumerate(self._servers):
                share = b"" if data is None else data[i].astype("<u4").tobytes()
                server.write(json.dumps(request).encode() + b"\n" + share)
            cloud, helper = (server.hear(answer) for server in self._servers)
        except PairError:
            self.close()
            raise
        return cloud, helper


def _start(task: Task, stack: contextlib.ExitStack) -> PartyProcess:
    server = PartyProcess("blindsight.app.pair_party", task, PairError)
    stack.callback(server.stop)
    return server


__all__ = ["WAN", "Layer", "Link", "LocalPair", "PairError", "Result"]
