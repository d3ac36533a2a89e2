"""Per protocol: bytes, rounds and time of each functionality, by two processes over loopback TCP.

    python -m bench.protocols [--quick] [--json]

An element is one output (of argmax and softmax one picture's ten or thousand logits). Correlations are made with the real
generator (profile `lan`); the best of the runs; set-up (base OT) is apart. Times are of the clock, both parties at work.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.relu import Stock
from bench.table import Row, finish, options, say
from blindsight.channel import Channel, tcp_connect, tcp_listen
from blindsight.mpc.argmax import ArgMax, TopK
from blindsight.mpc.clip import Clip
from blindsight.mpc.ingest import PixelsFromMask, PixelsFromXor
from blindsight.mpc.maxpool import MaxPool
from blindsight.mpc.relu import ReLU
from blindsight.mpc.session import Session
from blindsight.mpc.smooth import LeakyReLU
from blindsight.mpc.softmax import Softmax
from blindsight.mpc.trunc import TruncateExtend
from blindsight.nn.geometry import window_indices
from blindsight.ot.generate import Generator

# name -> (functionality for so many elements, shape of its input for n elements, its dtype)
Case = tuple[Callable[[int], Any], Callable[[int], tuple[int, ...]], type]


def _pool(n: int) -> MaxPool:
    side = 2 * int(np.sqrt(n))
    return MaxPool(12, 14, True, window_indices((1, side, side), (2, 2), (2, 2), (0, 0, 0, 0)))


CASES: dict[str, Case] = {
    "ReLU, m = 12": (lambda n: ReLU(12, 12), lambda n: (n,), np.uint32),
    "ReLU, m = 14": (lambda n: ReLU(12, 14), lambda n: (n,), np.uint32),
    "ReLU, m = 16": (lambda n: ReLU(12, 16), lambda n: (n,), np.uint32),
    "max-pool 2x2 and ReLU, m = 14": (_pool, lambda n: (4 * n,), np.uint32),
    "truncate and extend, m = 16": (lambda n: TruncateExtend(12, 16), lambda n: (n,), np.uint32),
    "leaky ReLU, m = 16": (lambda n: LeakyReLU(12, 16, 0.1, 11), lambda n: (n,), np.uint32),
    "clip, m = 12": (lambda n: Clip(12, 12, 0, 1536), lambda n: (n,), np.uint32),
    "pixels from a mask": (lambda n: PixelsFromMask(), lambda n: (n,), np.uint16),
    "pixels from xor": (lambda n: PixelsFromXor(), lambda n: (n,), np.uint8),
    "argmax of 10": (lambda n: ArgMax(10), lambda n: (n, 10), np.uint32),
    "argmax of 1000": (lambda n: ArgMax(1000), lambda n: (n, 1000), np.uint32),
    "top 5 of 10": (lambda n: TopK(10, 5), lambda n: (n, 10), np.uint32),
    "softmax of 10": (lambda n: Softmax(10, 12), lambda n: (n, 10), np.uint32),
}


def sizes(quick: bool) -> dict[str, int]:
    """Elements of each case: squares, for the pool's sake."""
    wide = {name: 1 << 8 if "of 10" in name else 1 << 16 for name in CASES} | {"argmax of 1000": 1}
    return {name: min(n, 1 << 8) if quick else n for name, n in wide.items()}


def party(channel: Channel, quick: bool, runs: int) -> list[Row]:
    """One party's runs."""
    start = time.perf_counter()
    generator = Generator(channel, link="lan")
    setup = time.perf_counter() - start
    rows = []
    for name, n in sizes(quick).items():
        made, shape, dtype = CASES[name]
        protocol = made(n)
        limit = 1024 if dtype is np.uint16 else 1 << 8 if dtype is np.uint8 else 1 << 20
        x = np.random.default_rng(channel.party).integers(0, limit, shape(n)).astype(dtype)
        draws, best = protocol.draws(n), None
        for _ in range(runs):
            channel.exchange(b"\0", 1)
            before, start = channel.stats.copy(), time.perf_counter()
            stock = generator.fill(draws)
            channel.exchange(b"\0", 1)
            offline, offline_s = channel.stats.minus(before), time.perf_counter() - start
            before, start = channel.stats.copy(), time.perf_counter()
            protocol.run(Session(channel, Stock(draws, stock)), x)
            online = channel.stats.minus(before)
            channel.exchange(b"\0", 1)
            online_s = time.perf_counter() - start
            row = {
                "protocol": name,
                "elements": n,
                "online_us": 1e6 * online_s / n,
                "offline_us": 1e6 * offline_s / n,
                "online_bytes": (online.sent + online.received) / n,
                "offline_bytes": (offline.sent + offline.received) / n,
                "rounds": online.rounds,
                "random_ots": sum(d.random_ots() for d in draws) / n,
                "setup_s": setup,
            }
            if best is None or row["online_us"] + row["offline_us"] < best["online_us"] + best["offline_us"]:
                best = row
        assert best
        rows.append(best)
        if channel.party == 0:
            say(f"{name}: {best['online_bytes']:.1f} bytes, {best['online_us']:.2f} us online")
    return rows


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--port", type=int, help="set in the second process")
    args = parser.parse_args()
    if args.port is not None:
        party(tcp_connect(1, "127.0.0.1", args.port), args.quick, args.runs)
        return
    listener = tcp_listen(0)
    command = [
        sys.executable,
        "-m",
        "bench.protocols",
        f"--runs={args.runs}",
        f"--port={listener.address[1]}",
    ]
    with subprocess.Popen([*command, *(["--quick"] if args.quick else [])]) as peer:
        channel = listener.accept()
        listener.close()
        rows = party(channel, args.quick, args.runs)
    if peer.returncode:
        raise SystemExit("the second process failed")
    finish("protocols", rows, args.quick, args.json)


if __name__ == "__main__":
    main()
