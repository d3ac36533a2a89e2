"""Oblivious transfer by two processes over loopback TCP, a core each: random OTs, finished pads, triples, bytes.

    python -m bench.ot [--ots N] [--runs R] [--isa ISA] [--quick] [--json]

Every row makes its correlations with the real generator (base OT apart, in `setup_s`).  `wall` is the rate by the clock, best of the
runs; `core` is the rate by the busier party's own processor time, which other work on the machine disturbs less.  A row counts the
random OTs below it: k for an instance of 1-of-2^k OT, two for a triple.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from bench.table import finish, options
from blindsight import _native
from blindsight.channel import Channel, tcp_connect, tcp_listen
from blindsight.ot.correlations import Draw, bits, ints, triples
from blindsight.ot.generate import EXTENSIONS, Generator


def rows(ots: int) -> list[tuple[str, dict[str, Any], Draw]]:
    """(name, options of the generator, what is drawn), about `ots` random OTs each."""
    table: list[tuple[str, dict[str, Any], Draw]] = [
        (f"random OT, {e}", {"extension": e}, bits(0, 1, 1, ots // (8 if e == "softspoken-8" else 1)))
        for e in EXTENSIONS
    ]
    drawn = [
        ("1-of-16 of 2 bits", bits(0, 4, 2, ots // 4)),
        ("1-of-2 of 16 bits", ints(0, 1, 16, ots)),
        ("AND triples", triples(ots // 2)),
    ]
    for e in ("softspoken-4", "ferret"):
        table += [(f"{name}, {e}", {"extension": e}, d) for name, d in drawn]
    return table


def party(channel: Channel, ots: int, runs: int) -> list[dict[str, float]]:
    """What one party measured of every row."""
    results = []
    for _, chosen, d in rows(ots):
        start = time.perf_counter()
        generator = Generator(channel, **chosen)
        setup, best = time.perf_counter() - start, {"wall_s": float("inf"), "cpu_s": float("inf")}
        before = channel.stats.copy()
        for _ in range(runs):
            channel.exchange(b"\0", 1)  # both start together
            wall, cpu = time.perf_counter(), time.process_time()
            generator.draw(d)
            cpu = time.process_time() - cpu
            channel.exchange(b"\0", 1)
            best = {
                "wall_s": min(best["wall_s"], time.perf_counter() - wall),
                "cpu_s": min(best["cpu_s"], cpu),
            }
        stats = channel.stats.minus(before)
        results.append({"setup_s": setup, "sent": stats.sent / runs, **best})
    return results


def report(ots: int, mine: list[dict[str, float]], theirs: list[dict[str, float]]) -> list[dict[str, Any]]:
    """The two parties' rows as one table."""
    table = []
    for (name, _, d), a, b in zip(rows(ots), mine, theirs, strict=True):
        count = d.random_ots()
        table.append(
            {
                "row": name,
                "instances": d.n,
                "random_ots": count,
                "wall_m_ots_per_s": count / max(a["wall_s"], b["wall_s"]) / 1e6,
                "core_m_ots_per_s": count / max(a["cpu_s"], b["cpu_s"]) / 1e6,
                "wall_m_instances_per_s": d.n / max(a["wall_s"], b["wall_s"]) / 1e6,
                "bytes_per_ot": (a["sent"] + b["sent"]) / count,
                "setup_s": max(a["setup_s"], b["setup_s"]),
            }
        )
    return table


def main() -> None:
    """Command line."""
    parser = options(__doc__)
    parser.add_argument("--ots", type=int, help="random OTs a row (2^23)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--isa", default="native", help=f"one of {', '.join(_native.isas())}")
    parser.add_argument("--port", type=int, help="set in the second process")
    args = parser.parse_args()
    _native.set_isa(args.isa)
    ots = args.ots or (1 << 19 if args.quick else 1 << 23)
    if args.port is not None:
        channel = tcp_connect(1, "127.0.0.1", args.port)
        results = party(channel, ots, args.runs)
        channel.send_control({"results": results})
        channel.close()
        return
    listener = tcp_listen(0)
    port = str(listener.address[1])
    command = [sys.executable, "-m", "bench.ot", "--port", port, "--isa", args.isa]
    with subprocess.Popen([*command, "--ots", str(ots), "--runs", str(args.runs)]) as child:
        channel = listener.accept()
        mine = party(channel, ots, args.runs)
        theirs = channel.recv_control()["results"]
        child.wait()
        channel.close()
    found = [{"isa": args.isa, **row} for row in report(ots, mine, theirs)]
    finish("ot", found, args.quick, args.json)


if __name__ == "__main__":
    main()
