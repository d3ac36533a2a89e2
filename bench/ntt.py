"""The lattice rings on one core: transforms, multiply-accumulate, and the steps of an encrypted linear layer.

    python -m bench.ntt [--repeats R] [--quick] [--json]

Every operation on the portable kernels and on the fastest that this machine has, the best of R runs each (others work on
the same machine). `mac` is one coefficient of one weight polynomial times one polynomial of a ciphertext, added up
without reduction; the transforms are of one polynomial. An answer is timed without products (encryption of zero, mask,
rounding, packing), a product with the transform of its weight.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

import blindsight._native as native
from bench.table import finish, options
from blindsight.he.linear import Evaluator, Scattered
from blindsight.he.secret.linear import LayerKey
from blindsight.params import CONCEALED, INGEST, LINEAR

ROWS, ANSWERS, USES, TAPS, LISTED = 8, 8, 64, 72, 512


def best(run: Callable[[], object], repeats: int) -> float:
    """Microseconds of the fastest of several runs, spread over a while: others work here too."""
    run()
    times = []
    for i in range(repeats):
        if i % 20 == 0:
            time.sleep(0.005)
            run()
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times) * 1e6


def multiply_accumulate(n: int, q: int, repeats: int) -> float:
    """Nanoseconds a coefficient, from the difference between 8 and 2 terms on both polynomials of a ciphertext."""
    rng = np.random.default_rng(3)
    a, b = (
        rng.integers(0, q, (8, n + 8), dtype=np.uint64),
        rng.integers(0, q, (8, 2, n + 8), dtype=np.uint64),
    )
    out = np.empty((2, n), np.uint64)
    many, few = (best(lambda t=t: native.ntt_sum_products(n, q, a[:t], b[:t], out), repeats) for t in (8, 2))
    return (many - few) / (6 * 2 * n) * 1e3


def transforms(n: int, q: int, repeats: int) -> dict[str, float]:
    rng = np.random.default_rng(1)
    x, out = rng.integers(0, q, (ROWS, n), dtype=np.uint64), np.empty((ROWS, n), np.uint64)
    small = rng.integers(-2000, 2000, (ROWS, n), dtype=np.int32)
    return {
        "forward": best(lambda: native.ntt_forward(n, q, x, out), repeats) / ROWS,
        "forward_signed": best(lambda: native.ntt_forward_signed(n, q, small, out), repeats) / ROWS,
        "inverse": best(lambda: native.ntt_inverse(n, q, x, out), repeats) / ROWS,
    }


def layer(repeats: int) -> dict[str, float]:
    """Steps of a linear layer in the ring of 2,048, microseconds; `mac` in nanoseconds."""
    rng, n = np.random.default_rng(2), LINEAR.n
    key = LayerKey(LINEAR, bytes(32))
    evaluator = Evaluator(LINEAR, bytes(32), key.public)
    r = rng.integers(-(1 << 31), 1 << 31, (ROWS, n)).astype(np.int32)
    enc = key.encrypt(r)
    ct = evaluator.load(enc)
    positions = np.stack([rng.choice(n, TAPS, replace=False) for _ in range(USES)]).astype(np.int32)
    weights = Scattered(positions, rng.integers(-2000, 2000, (ANSWERS, USES, TAPS)).astype(np.int32))
    uses, listed = (
        np.arange(USES, dtype=np.int32) % ROWS,
        np.tile(np.arange(LISTED, dtype=np.int32), (ANSWERS, 1)),
    )
    nothing = np.zeros((ANSWERS, 0, n), np.int32)
    answer, _ = evaluator.answer(ct, uses[:0], nothing, listed)
    empty = best(lambda: evaluator.answer(ct, uses[:0], nothing, listed), repeats)
    raw = best(lambda: evaluator.answer(ct, uses, weights, listed), max(5, repeats // 8))
    return {
        "mac_ns": multiply_accumulate(n, LINEAR.q, repeats),
        "product": (raw - empty) / ANSWERS / USES,
        "answer_without_products": empty / ANSWERS,
        "open": best(lambda: key.open(answer, listed), repeats) / ANSWERS,
        "encrypt": best(lambda: key.encrypt(r), repeats) / ROWS,
        "load": best(lambda: evaluator.load(enc), repeats) / ROWS,
    }


def measure(repeats: int) -> list[dict[str, object]]:
    """One row an operation: portable, fastest, their ratio."""
    figures: dict[str, dict[tuple[int, int, str], float]] = {}
    names = {}
    for isa in ("portable", "native"):
        native.set_isa(isa)
        names[isa] = native.ring_isa()
        found = figures.setdefault(isa, {})
        for ring in (INGEST, LINEAR, CONCEALED):
            for op, us in transforms(ring.n, ring.primes[0], repeats).items():
                found[ring.n, ring.primes[0], op] = us
        for op, us in layer(repeats).items():
            found[LINEAR.n, LINEAR.primes[0], op] = us
    rows: list[dict[str, object]] = []
    for (n, q, op), us in figures["native"].items():
        slow = figures["portable"][n, q, op]
        unit = "ns" if op.endswith("_ns") else "us"
        rows.append(
            {
                "op": op.removesuffix("_ns"),
                "n": n,
                "q": q,
                "unit": unit,
                "kernels": names["native"],
                "time": round(us, 3),
                "portable": round(slow, 3),
                "ratio": round(slow / us, 1),
            }
        )
    return rows


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--repeats", type=int)
    args = parser.parse_args()
    finish("ntt", measure(args.repeats or (20 if args.quick else 400)), args.quick, args.json)


if __name__ == "__main__":
    main()
