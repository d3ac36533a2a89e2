"""Linear layers of VGG-16, layer by layer: integer speed online, homomorphic cost offline.

    python -m bench.linear [--size 32|224] [--batch 16] [--threads 1] [--runs 5] [--online-only] [--quick] [--json]

Online: billions of multiply-accumulates a second (16-bit weights times 32-bit ring elements), portable and
fastest kernels in the same run, best of the runs. Offline: both parties as threads of this process with
real encryption; bytes on the wire and each party's processor time, an image. Weights and masks are random:
the cost depends on shapes alone.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.table import finish, options, say
from blindsight import _native
from blindsight.channel import memory_pair
from blindsight.he.secret.linear import LayerKey
from blindsight.nn.cut import Conv
from blindsight.nn.linear import CloudSide, HelperSide, online
from blindsight.nn.ops import Conv2d, Input, Linear, MaxPool, Op, Output, Relu, Reshape, WeightedOp
from blindsight.nn.plan import Plan, Reveal

WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0: pool
DENSE = {32: (512, 512, 10), 224: (4096, 4096, 1000)}


def vgg16(size: int) -> Plan:
    """The network's plan; scales play no part here."""
    ops: list[Op] = [Input(out="x", inputs=(), shape=(3, size, size), scale=0)]

    def add(op: Op) -> None:
        ops.append(op)

    def common(shape: tuple[int, ...]) -> dict[str, Any]:
        return {"out": f"t{len(ops)}", "inputs": (ops[-1].out,), "shape": shape, "scale": 0}

    def weights() -> dict[str, Any]:
        return {"weight": f"w{len(ops)}", "bias": f"b{len(ops)}", "weight_bits": 12, "weight_scale": 0}

    for width in WIDTHS:
        c, h, w = ops[-1].shape
        if width == 0:
            half = common((c, h // 2, w // 2))
            add(MaxPool(**half, f=0, m=16, kernel=(2, 2), stride=(2, 2), padding=(0, 0, 0, 0), relu=True))
        else:
            geometry: dict[str, Any] = {
                "in_channels": c,
                "kernel": (3, 3),
                "stride": (1, 1),
                "padding": (1, 1, 1, 1),
                "groups": 1,
            }
            add(Conv2d(**common((width, h, w)), **weights(), **geometry, bias_map=False))
    add(Reshape(**common((ops[-1].size,))))
    for count in DENSE[size]:
        if isinstance(ops[-1], Linear):
            add(Relu(**common(ops[-1].shape), f=0, m=16))
        add(Linear(**common((count,)), **weights(), in_features=ops[-1].size))
    add(Output(**common(ops[-1].shape)))
    return Plan("vgg16", size, size, 3, "rgb888", (), Reveal(), tuple(ops))


def best(run: Callable[[], Any], runs: int) -> float:
    """The shortest wall time of the runs."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def online_row(op: WeightedOp, conv: Conv, weight: np.ndarray, threads: int, runs: int) -> dict[str, float]:
    shape = (conv.channels, conv.height, conv.width) if isinstance(op, Conv2d) else (conv.channels,)
    d = np.random.default_rng(1).integers(0, 2**32, shape, np.uint32)
    row: dict[str, float] = {}
    for isa, times in (("portable", 1), ("native", runs)):
        _native.set_isa(isa)
        seconds = best(lambda: online(op, weight, d, threads), times)
        row |= {f"{isa}_gmac_s": conv.macs / seconds / 1e9, f"{isa}_ms": seconds * 1e3}
    return row


def offline_row(plan: Plan, op: WeightedOp, weights: dict[str, np.ndarray], batch: int) -> dict[str, float]:
    rng = np.random.default_rng(2)
    name = op.inputs[0]
    masks = {name: rng.integers(0, 2**32, (batch, plan.op(name).size), np.uint32)}
    cloud, helper = memory_pair(600.0)
    spent: dict[str, float] = {}

    def own() -> None:
        start = time.thread_time()
        HelperSide(plan, LayerKey).batch(helper, [op], batch, masks)
        spent["helper"] = time.thread_time() - start

    wall, other = time.perf_counter(), threading.Thread(target=own)
    other.start()
    start = time.thread_time()
    CloudSide(plan, weights).batch(cloud, [op], batch)
    spent["cloud"] = time.thread_time() - start
    other.join()
    wall = time.perf_counter() - wall
    return {
        "up_kb": helper.stats.sent / batch / 1e3,
        "down_kb": cloud.stats.sent / batch / 1e3,
        "cloud_cpu_ms": spent["cloud"] / batch * 1e3,
        "helper_cpu_ms": spent["helper"] / batch * 1e3,
        "offline_wall_ms": wall / batch * 1e3,
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--size", type=int, default=32, choices=sorted(DENSE))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--online-only", action="store_true")
    args = parser.parse_args()
    plan, rng, rows = vgg16(args.size), np.random.default_rng(0), []
    batch, runs = (1, 1) if args.quick else (args.batch, args.runs)
    for op in plan.weighted[-3:] if args.quick else plan.weighted:
        weights = {op.weight: rng.integers(-2048, 2048, op.weight_shape, np.int16)}
        conv = Conv.of(op, plan.op(op.inputs[0]).shape)
        row: dict[str, Any] = {"layer": f"{conv.channels}x{conv.height}x{conv.width} -> {conv.outputs}"}
        say(f"VGG-16 at {args.size}: {row['layer']}")
        row["mmac"] = conv.macs / 1e6
        row |= online_row(op, conv, weights[op.weight], args.threads, runs)
        if not args.online_only:
            row |= offline_row(plan, op, weights, batch)
        rows.append(row)
    total: dict[str, Any] = {"layer": "all"}
    for key in rows[0]:
        if key != "layer" and not key.endswith("_s"):
            total[key] = sum(row[key] for row in rows)
    for isa in ("portable", "native"):
        total[f"{isa}_gmac_s"] = total["mmac"] / total[f"{isa}_ms"]
    rows.append(total)
    about = {"size": args.size, "batch": batch, "threads": args.threads}
    name = "linear" if args.size == 32 else f"linear-{args.size}"
    finish(name, [{**row, **about} for row in rows], args.quick, args.json)


if __name__ == "__main__":
    main()
