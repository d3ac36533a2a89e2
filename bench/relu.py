"""ReLU by two processes over loopback TCP: bytes, rounds and microseconds an element, offline (OT extension) and online.

    python -m bench.relu [--elements N] [--f F] [--m M] [--runs R] [--quick] [--json]

Each run makes its correlations with the real generator, then consumes them in one ReLU. The best run is
reported (others work on the same machine), set-up (base OT) apart; CPU time is that of the busier party. The
result is checked against the ideal functionality in every run.
"""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np

from bench.table import finish, options
from blindsight.channel import Channel, tcp_connect, tcp_listen
from blindsight.mpc import ideal
from blindsight.mpc.relu import ReLU
from blindsight.mpc.session import Session
from blindsight.ot.correlations import Draw
from blindsight.ot.generate import Generator


class Stock:
    """Correlations made beforehand, handed out in order."""

    def __init__(self, draws: list[Draw], made: list[tuple[np.ndarray, ...]]) -> None:
        self._rest = list(zip(draws, made, strict=True))[::-1]

    def draw(self, d: Draw) -> tuple[np.ndarray, ...]:
        listed, arrays = self._rest.pop()
        assert listed == d, f"{d} drawn where {listed} was listed"
        return arrays


def shares(elements: int, f: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """The same inputs in both processes: values over the whole valid range, uniform shares."""
    rng = np.random.default_rng(2021)
    x = rng.integers(-(1 << (m - 1 + f)), (1 << (m - 1 + f)) - (1 << f), elements).astype(np.uint32)
    x0 = rng.integers(0, 1 << 32, elements, dtype=np.uint32)
    return x0, x - x0


def party(channel: Channel, elements: int, f: int, m: int, runs: int) -> list[dict[str, float]]:
    """One party's runs; what it measured of each."""
    relu, both = ReLU(f, m), shares(elements, f, m)
    start = time.perf_counter()
    generator = Generator(channel)
    setup = time.perf_counter() - start
    draws, rows = relu.draws(elements), []
    for _ in range(runs):
        channel.exchange(b"\0", 1)  # both start together
        stats, start, cpu = channel.stats.copy(), time.perf_counter(), time.process_time()
        made = generator.fill(draws)
        channel.exchange(b"\0", 1)
        offline, offline_s = channel.stats.minus(stats), time.perf_counter() - start
        offline_cpu = time.process_time() - cpu
        stats, start, cpu = channel.stats.copy(), time.perf_counter(), time.process_time()
        y = relu.run(Session(channel, Stock(draws, made)), both[channel.party])
        channel.exchange(b"\0", 1)
        online, online_s = channel.stats.minus(stats), time.perf_counter() - start
        used = np.array([offline_cpu, time.process_time() - cpu])
        used = np.maximum(used, channel.exchange(used, used.nbytes).view(np.float64))
        theirs = channel.exchange(y, y.nbytes).view(np.uint32)
        expected = ideal.ReLU(f, m).run(*both)
        assert np.array_equal(y + theirs, expected[0] + expected[1]), "the ReLU is wrong"
        rows.append(
            {
                "setup_s": setup,
                "offline_us": 1e6 * offline_s / elements,
                "online_us": 1e6 * online_s / elements,
                "total_us": 1e6 * (offline_s + online_s) / elements,
                "offline_cpu_us": 1e6 * used[0] / elements,
                "online_cpu_us": 1e6 * used[1] / elements,
                "offline_bytes": (offline.sent + offline.received) / elements,
                "online_bytes": (online.sent + online.received) / elements,
                "rounds": online.rounds,
                "random_ots": sum(d.random_ots() for d in draws) / elements,
            }
        )
    return rows


def main(argv: list[str] | None = None) -> int:
    parser = options(__doc__)
    parser.add_argument("--elements", type=int)
    parser.add_argument("--f", type=int, default=12)
    parser.add_argument("--m", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--port", type=int, help="set in the second process")
    args = parser.parse_args(argv)
    elements = args.elements or (1 << 14 if args.quick else 1 << 20)
    size = (elements, args.f, args.m, args.runs)
    if args.port is not None:
        party(tcp_connect(1, "127.0.0.1", args.port), *size)
        return 0
    listener = tcp_listen(0)
    flags = [f"--{k}={v}" for k, v in zip(("elements", "f", "m", "runs"), size, strict=True)]
    peer = subprocess.Popen([sys.executable, "-m", "bench.relu", *flags, f"--port={listener.address[1]}"])
    channel = listener.accept()
    listener.close()
    rows = party(channel, *size)
    if peer.wait():
        return 1
    best = min(rows, key=lambda row: row["total_us"])
    result = {"elements": elements, "f": args.f, "m": args.m, "runs": args.runs, **best}
    finish("relu", [result], args.quick, args.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
