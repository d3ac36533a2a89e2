"""One server of `blindsight infer`, as a process of its own: `python -m blindsight.app.party`.

Standard input: one line of JSON (`Task`), then this party's shares of the pixels, `uint32` little-endian. Standard output: lines of JSON;
first (helper) the port, then (cloud) progress, last the report. The cloud's process is given the model, the helper's only the public plan.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from blindsight.channel import (
    WAN,
    Channel,
    ChannelError,
    Link,
    Stats,
    connect_socket,
    shaped,
    tcp_connect,
    tcp_listen,
)
from blindsight.nn.network import Network
from blindsight.nn.ops import Op
from blindsight.nn.plan import PlanError, load_plan
from blindsight.nn.shares import ModelShare
from blindsight.offline.make import fitting, make_batch
from blindsight.offline.slot import Tape
from blindsight.ot.generate import Generator

PATIENCE_S = 600.0  # for a peer at work on a large network; one that has ended is noticed at once


@dataclass(frozen=True)
class Task:
    """What a party is asked to do."""

    party: int
    path: str  # M.bsm for party 0, M.plan.json for party 1; of a concealed model either party's share
    count: int
    batch: int
    threads: int
    link: str  # which protocols: `lan` or `wan`; `wan` is shaped as WAN unless bits_per_s says otherwise
    port: int = 0
    bits_per_s: float = 0  # with rtt_s the line to model; 0: as `link` says
    rtt_s: float = 0

    @property
    def line(self) -> Link | None:
        """The modelled line; None is loopback as it is."""
        if self.bits_per_s:
            return Link(self.bits_per_s, self.rtt_s)
        return WAN if self.link == "wan" else None


class Meter:
    """Seconds, bytes and rounds by operation, from the channel's counters."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self.layers: dict[str, dict[str, Any]] = {}

    @contextmanager
    def __call__(self, op: Op) -> Iterator[None]:
        before, start = self._stats.copy(), time.perf_counter()
        yield
        new = self._stats.minus(before)
        row = self.layers.setdefault(
            op.out, {"op": op.kind, "shape": list(op.shape), "online_s": 0.0, "online_bytes": 0, "rounds": 0}
        )
        row["online_s"] += time.perf_counter() - start
        row["online_bytes"] += new.sent + new.received
        row["rounds"] += new.rounds


def say(**event: Any) -> None:
    print(json.dumps(event), flush=True)


def side(task: Task) -> tuple[Network, Any, dict[str, Any]]:
    """The network and the linear side of this party, and what it says in its HELLO. Each party's own room is
    imported here only.
    """
    if task.path.endswith(".share"):
        if task.party == 0:
            from blindsight.cloud.own_key import concealed_side
        else:
            from blindsight.helper.linear import concealed_side

        share = ModelShare.load(task.path, task.party)
        hello = {"plan": share.plan.hash.hex(), "split": share.split}
        network = Network(share.plan, share.tensors, task.threads)
        return network, concealed_side(share.plan, share.tensors, task.threads), hello
    if task.party == 0:
        from blindsight.nn.linear import CloudSide
        from blindsight.nn.model import Model

        model = Model.load(task.path)
        plan, linear = model.plan, CloudSide(model.plan, model.ints, threads=task.threads)
        return Network(plan, model.ints, task.threads), linear, {"plan": plan.hash.hex()}
    from blindsight.helper.linear import helper_side

    plan = load_plan(task.path)
    return Network(plan, threads=task.threads), helper_side(plan, task.threads), {"plan": plan.hash.hex()}


def connect(task: Task, hello: dict[str, Any]) -> Channel:
    """The channel to the other party, both holding the same plan, and shares of the same split."""
    if task.party == 1:
        listener = tcp_listen(1, timeout=PATIENCE_S)
        say(event="port", port=listener.address[1])
        channel = (
            shaped(listener.accept_socket(), 1, task.line, hello, PATIENCE_S)
            if task.line
            else listener.accept(hello)
        )
        listener.close()
    elif task.line:
        channel = shaped(connect_socket("127.0.0.1", task.port, 10, 10), 0, task.line, hello, PATIENCE_S)
    else:
        channel = tcp_connect(0, "127.0.0.1", task.port, hello, timeout=PATIENCE_S, retry_for=10)
    if channel.peer.get("plan") != hello["plan"]:
        channel.fail("the plan hash of the two servers differs: give both the files of one compilation")
    if channel.peer.get("split") != hello.get("split"):
        channel.fail(
            "the two servers hold shares of different splits: give both the files of one `model split`"
        )
    return channel


def run(task: Task, pixels: np.ndarray) -> dict[str, Any]:
    """Set up, then batch by batch: make material, run the inferences. Returns the report."""
    network, linear, hello = side(task)
    start = time.perf_counter()
    channel = connect(task, hello)
    generator = Generator(channel, link=task.link)
    setup_s = time.perf_counter() - start

    meter = Meter(channel.stats)
    shares: list[list[int]] = []
    offline, online = Spent(channel.stats), Spent(channel.stats)
    most = min(task.batch, fitting(network))

    def tell(phase: str, done: int) -> None:
        # The cloud's alone: nobody reads the helper's before the cloud has ended, and a full pipe would stop both.
        if task.party == 0:
            say(event="progress", phase=phase, done=done)

    while len(shares) < task.count:
        batch = min(most, task.count - len(shares))
        with offline:
            slots = make_batch(channel, network, linear, generator, batch)
        tell("offline", len(shares) + batch)
        while slots:
            slot = slots.pop(0)
            with online:
                share = network.run(channel, Tape(slot.draws), slot, pixels[len(shares)], meter)
            shares.append(share.tolist())
            tell("online", len(shares))
    channel.close()
    n = task.count
    for row in meter.layers.values():
        row["online_s"] /= n
        row["online_bytes"] /= n
        row["rounds"] /= n
    return {
        "shares": shares,
        "batch": min(most, n),
        "setup_s": setup_s,
        "offline_s": offline.seconds / n,
        "online_s": online.seconds / n,
        "offline_cpu_s": offline.cpu / n,
        "online_cpu_s": online.cpu / n,
        "offline_bytes": offline.bytes / n,
        "online_bytes": online.bytes / n,
        "rounds": online.rounds / n,
        "peak_rss_bytes": peak_rss_bytes(),
        "layers": meter.layers,
    }


class Spent:
    """What the blocks run under it took: wall and processor seconds, bytes both ways, rounds."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self.seconds = self.cpu = 0.0
        self.bytes = self.rounds = 0

    def __enter__(self) -> None:
        self._before = (time.perf_counter(), time.process_time(), self._stats.copy())

    def __exit__(self, *_: object) -> None:
        wall, cpu, stats = self._before
        self.seconds += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu
        new = self._stats.minus(stats)
        self.bytes += new.sent + new.received
        self.rounds += new.rounds


def peak_rss_bytes() -> int:
    """The most memory this process held. Not `ru_maxrss`, which keeps the parent's from before the exec."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status names no VmHWM: `infer` measures memory on Linux")


def main() -> int:
    task = Task(**json.loads(sys.stdin.buffer.readline()))
    data = sys.stdin.buffer.read()
    try:
        pixels = np.frombuffer(data, "<u4").reshape(task.count, -1)
        say(event="report", **run(task, pixels))
    except (ChannelError, PlanError, ValueError, OSError) as error:
        say(event="error", message=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
