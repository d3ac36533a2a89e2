"""Oblivious transfer by two processes over loopback TCP, a core each: random OTs, finished pads, triples, bytes.

    python -m bench.ot [--ots N] [--runs R] [--isa ISA] [--json]

Every row makes its correlations with the real generator (base OT apart, in `setup_s`).  `wall` is the rate by the clock, best of the
runs; `core` is the rate by the busier party's own processor time, which other work on the machine disturbs less.  A row counts the
random OTs below it: k for an instance of 1-of-2^k OT, two for a triple.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any

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
    for _, options, d in rows(ots):
        start = time.perf_counter()
        generator = Generator(channel, **options)
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
    parser = argparse.ArgumentParser(prog="bench.ot", description="Oblivious transfer over loopback.")
    parser.add_argument("--ots", type=int, default=1 << 23, help="random OTs a row")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--isa", default="native", help=f"one of {', '.join(_native.isas())}")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    _native.set_isa(args.isa)
    if args.port is not None:
        channel = tcp_connect(1, "127.0.0.1", args.port)
        results = party(channel, args.ots, args.runs)
        channel.send_control({"results": results})
        channel.close()
        return
    listener = tcp_listen(0)
    port = str(listener.address[1])
    command = [sys.executable, "-m", "bench.ot", "--port", port, "--isa", args.isa]
    with subprocess.Popen([*command, "--ots", str(args.ots), "--runs", str(args.runs)]) as child:
        channel = listener.accept()
        mine = party(channel, args.ots, args.runs)
        theirs = channel.recv_control()["results"]
        child.wait()
        channel.close()
    table = report(args.ots, mine, theirs)
    if args.json:
        print(json.dumps({"bench": "ot", "isa": args.isa, "rows": table}))
        return
    print(f"{'':32} {'M OT/s wall':>12} {'M OT/s core':>12} {'M inst/s':>9} {'bytes/OT':>9}")
    for r in table:
        speeds = (
            f"{r['wall_m_ots_per_s']:12.1f} {r['core_m_ots_per_s']:12.1f} {r['wall_m_instances_per_s']:9.1f}"
        )
        print(f"{r['row']:32} {speeds} {r['bytes_per_ot']:9.2f}")


if __name__ == "__main__":
    main()
