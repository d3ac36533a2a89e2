"""Every functionality of `blindsight.mpc` with its ideal twin, inputs for both, and a way to run the two parties in threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from blindsight.channel import Channel, Recorder, memory_pair
from blindsight.mpc import (
    argmax,
    b2a,
    bits,
    clip,
    compare,
    drelu,
    ideal,
    ingest,
    maxpool,
    mux,
    relu,
    smooth,
    trunc,
)
from blindsight.mpc.session import Session
from blindsight.ot.correlations import Correlations, Draw, words
from blindsight.ot.ideal import dealt_pair

Args = tuple[Any, ...]


class Listed:
    """Checks that exactly the listed draws are made, in order."""

    def __init__(self, source: Correlations, draws: Sequence[Draw]) -> None:
        self.source, self.rest = source, list(draws)[::-1]

    def draw(self, d: Draw) -> tuple[np.ndarray, ...]:
        assert self.rest and self.rest.pop() == d, f"{d} is not the next of the list"
        return self.source.draw(d)


class Unmasked:
    """Correlations that hide nothing: all pads and choices zero. What a view test must catch."""

    def __init__(self, party: int) -> None:
        self.party = party

    def draw(self, d: Draw) -> tuple[np.ndarray, ...]:
        return tuple(np.zeros(shape, dtype) for shape, dtype in d.shapes(self.party))


@dataclass(frozen=True)
class Case:
    """`inputs(rng, n)` gives both parties' arguments; the sum (or xor) of the outputs is `twin(inputs)`."""

    name: str
    real: Any
    twin: Callable[[Args, Args], np.ndarray]
    inputs: Callable[[np.random.Generator, int], tuple[Args, Args]]
    draws: Callable[[int], list[Draw]]
    xor: bool = False
    output_bits: int = 32  # of the output's ring
    tolerance: int = 0  # units that a run may differ from its twin: tables of lines
    most: int = 10**6  # elements of the large run
    # shares of the output are fresh; else their low bits are a local function of the input shares
    fresh: bool = True

    def combine(self, y0: np.ndarray, y1: np.ndarray) -> np.ndarray:
        if self.xor:
            return y0 ^ y1
        return (y0 + y1) & np.uint32((1 << self.output_bits) - 1)


def run_both(
    case: Case,
    inputs: tuple[Args, Args],
    n: int,
    sources: tuple[Correlations, Correlations],
    channels: tuple[Channel, Channel] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Both parties' outputs; the draws are checked against the list."""
    channels = channels or memory_pair(timeout=30)
    listed = [Listed(source, case.draws(n)) for source in sources]

    def one(party: int) -> np.ndarray:
        try:
            return case.real.run(Session(channels[party], listed[party]), *inputs[party])
        except BaseException:
            channels[party].close()  # so that the peer does not wait
            raise

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(one, party) for party in (0, 1)]
        out = futures[0].result(), futures[1].result()
    assert not listed[0].rest and not listed[1].rest, "draws were listed and not made"
    return out


def transcript(
    case: Case, inputs: tuple[Args, Args], n: int, sources: tuple[Correlations, Correlations]
) -> tuple[Recorder, Recorder]:
    """What each party sent and received, in full."""
    ends = memory_pair(timeout=30)
    recorders = Recorder(ends[0], transcript=True), Recorder(ends[1], transcript=True)
    run_both(case, inputs, n, sources, recorders)
    return recorders


# --- inputs: edge values and edge shares as often as random ones


def mixed(rng: np.random.Generator, low: int, high: int, n: int) -> np.ndarray:
    """Int64 in [low, high): random ones, the ends, and what is near zero and near the ends."""
    edges = [
        v for v in (low, low + 1, -2, -1, 0, 1, 2, (low + high) // 2, high - 2, high - 1) if low <= v < high
    ]
    return np.where(
        rng.random(n) < 0.5,
        rng.choice(np.array(edges, np.int64), n),
        rng.integers(low, high, n, dtype=np.int64),
    )


def split(rng: np.random.Generator, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Additive shares, uniform or at an edge of the ring."""
    edges = np.array([0, 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1], np.uint32)
    x0 = np.where(
        rng.random(x.shape) < 0.25,
        rng.choice(edges, x.shape),
        rng.integers(0, 1 << 32, x.shape, dtype=np.uint32),
    )
    return x0, x.astype(np.uint32) - x0


def bit_shares(rng: np.random.Generator, rows: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    shape = (rows, words(n))
    return rng.integers(0, 1 << 64, shape, dtype=np.uint64), rng.integers(0, 1 << 64, shape, dtype=np.uint64)


def ring(low: int, high: int) -> Callable[[np.random.Generator, int], tuple[Args, Args]]:
    def make(rng: np.random.Generator, n: int) -> tuple[Args, Args]:
        x0, x1 = split(rng, mixed(rng, low, high, n))
        return (x0,), (x1,)

    return make


def truncating(
    f: int, m: int, signed: bool = True
) -> Callable[[np.random.Generator, int], tuple[Args, Args]]:
    """The whole range that F_TR(f) to m bits admits."""
    top = 1 << (m - 1 + f)
    return ring(-top if signed else 0, top - (1 << f) + (f == 0))


def unsigned(count: int, dtype: type[np.generic]) -> Callable[[np.random.Generator, int], tuple[Args, Args]]:
    def make(rng: np.random.Generator, n: int) -> tuple[Args, Args]:
        return tuple((mixed(rng, 0, count, n).astype(dtype),) for _ in range(2))  # type: ignore[return-value]

    return make


def logits(count: int) -> Callable[[np.random.Generator, int], tuple[Args, Args]]:
    """Many ties, and the ends of the range."""

    def make(rng: np.random.Generator, n: int) -> tuple[Args, Args]:
        x = mixed(rng, 1 - (1 << 30), 1 << 30, n * count).reshape(n, count)
        x0, x1 = split(rng, np.where(rng.random((n, 1)) < 0.5, rng.integers(-1, 2, (n, count)), x))
        return (x0,), (x1,)

    return make


def pixels(rng: np.random.Generator, n: int) -> tuple[Args, Args]:
    """a and b of DESIGN section 2: b of the cloud's uniform mask, a of what the helper decrypts, errors up to the bound."""
    q, delta = 67104769, 262128
    x, error = mixed(rng, 0, 256, n), mixed(rng, 1 - delta // 8, delta // 8, n)
    mask = mixed(rng, 0, q, n)
    v = (delta * x + error + delta // 2 + mask) % q
    return ((1024 * mask // q).astype(np.uint16),), ((1024 * v // q).astype(np.uint16),)


def twin(functionality: Any) -> Callable[[Args, Args], np.ndarray]:
    def value(a: Args, b: Args) -> np.ndarray:
        y0, y1 = functionality.run(*(v for pair in zip(a, b, strict=True) for v in pair))
        return y0 + y1

    return value


WINDOWS_IN = 150


def windows(k: int, n: int) -> np.ndarray:
    return np.random.default_rng(k).integers(-1, WINDOWS_IN, (n, k))


class Pool:
    """MaxPool whose windows depend on n, so that it fits the table."""

    def __init__(self, cls: Any, f: int, m: int, relu_: bool, k: int) -> None:
        self.make = lambda n: cls(f, m, relu_, windows(k, n))

    def draws(self, n: int) -> list[Draw]:
        return self.make(n).draws(WINDOWS_IN)

    def run(self, *args: Any) -> Any:
        return self.make(int(args[-1])).run(*args[:-1])


def pool(name: str, f: int, m: int, relu_: bool, k: int) -> Case:
    real, ideal_ = Pool(maxpool.MaxPool, f, m, relu_, k), Pool(ideal.MaxPool, f, m, relu_, k)

    def value(a: Args, b: Args) -> np.ndarray:
        y0, y1 = ideal_.run(a[0], b[0], a[1])
        return y0 + y1

    def make(rng: np.random.Generator, n: int) -> tuple[Args, Args]:
        (x0,), (x1,) = truncating(f, m)(rng, WINDOWS_IN)
        return (x0, n), (x1, n)

    return Case(name, real, value, make, real.draws)


def elementwise(name: str, real: Any, ideal_: Any, inputs: Any, **more: Any) -> Case:
    return Case(name, real, twin(ideal_), inputs, real.draws, **more)


def smooth_case(name: str, f: int, m: int, scale_in: int, scale_out: int) -> Case:
    """1 KiB of pads an element: the large run is smaller."""
    real, other = (cls(name, f, m, scale_in, scale_out) for cls in (smooth.Smooth, ideal.Smooth))
    return elementwise(name, real, other, truncating(f, m), tolerance=real.units, most=10**5)


def comparison(name: str, leaves: tuple[int, ...], sender: int) -> Case:
    real = compare.Compare(leaves, sender)
    inputs = unsigned(1 << real.width, np.uint32)
    return elementwise(name, real, ideal.Compare(leaves, sender), inputs, xor=True)


def and_case(w: int) -> Case:
    def make(rng: np.random.Generator, n: int) -> tuple[Args, Args]:
        (x0, x1), (y0, y1) = bit_shares(rng, 1, n), bit_shares(rng, w, n)
        return (x0[0], y0, n), (x1[0], y1, n)

    def value(a: Args, b: Args) -> np.ndarray:
        y0, y1 = ideal.And(w).run(a[0], b[0], a[1], b[1])
        return y0 ^ y1

    return Case(f"and{w}", bits.And(w), value, make, bits.And(w).draws, xor=True)


def mux_case(m: int) -> Case:
    def make(rng: np.random.Generator, n: int) -> tuple[Args, Args]:
        b0, b1 = bit_shares(rng, 1, n)
        x0, x1 = split(rng, mixed(rng, 0, 1 << m, n))
        return (b0[0], x0), (b1[0], x1)

    return elementwise(f"mux{m}", mux.Mux(m), ideal.Mux(m), make, output_bits=m)


def b2a_case(w: int, sender: int, shift: int) -> Case:
    def make(rng: np.random.Generator, n: int) -> tuple[Args, Args]:
        b0, b1 = bit_shares(rng, 1, n)
        return (b0[0], n), (b1[0], n)

    def value(a: Args, b: Args) -> np.ndarray:
        y0, y1 = ideal.B2A(w, sender, shift).run(a[0], b[0], a[1])
        return y0 + y1

    real = b2a.B2A(w, sender, shift)
    return Case(f"b2a{w}.{sender}.{shift}", real, value, make, real.draws, output_bits=w + shift, fresh=False)


def relu_case(f: int, m: int) -> Case:
    return elementwise(f"relu{m}.{f}", relu.ReLU(f, m), ideal.ReLU(f, m), truncating(f, m))


def trunc_case(f: int, m: int, signed: bool) -> Case:
    bound = truncating(f, m - 1) if signed else truncating(f, m, signed=False)
    real, twin_ = trunc.TruncateExtend(f, m, signed), ideal.TruncateExtend(f, m, signed)
    return elementwise(f"trunc{m}.{f}.{'signed' if signed else 'unsigned'}", real, twin_, bound, fresh=False)


CASES = [
    comparison("compare1", (1,), 0),
    comparison("compare10", (2, 4, 4), 1),
    comparison("compare31", compare.leaves_of(31), 0),
    elementwise("drelu16", drelu.DReLU(16), ideal.DReLU(16), ring(-(1 << 15), 1 << 15), xor=True),
    elementwise("drelu32", drelu.DReLU(32, 1), ideal.DReLU(32, 1), ring(-(1 << 31), 1 << 31), xor=True),
    and_case(1),
    and_case(2),
    mux_case(16),
    mux_case(32),
    b2a_case(32, 0, 0),
    b2a_case(24, 1, 8),
    trunc_case(12, 16, True),
    trunc_case(10, 12, False),
    relu_case(12, 16),
    relu_case(9, 12),
    relu_case(0, 16),
    pool("maxpool4.relu", 12, 16, True, 4),
    pool("maxpool9.signed", 8, 12, False, 9),
    elementwise("relu6", clip.Clip(8, 14, 0, 6 << 8), ideal.Clip(8, 14, 0, 6 << 8), truncating(8, 14)),
    elementwise("clip", clip.Clip(0, 10, -300, 511), ideal.Clip(0, 10, -300, 511), truncating(0, 10)),
    elementwise(
        "leaky", smooth.LeakyReLU(9, 16, 0.01), ideal.LeakyReLU(9, 16, 0.01), truncating(9, 16), fresh=False
    ),
    smooth_case("tanh", 8, 16, 9, 8),
    smooth_case("silu", 12, 14, 7, 9),
    elementwise("argmax10", argmax.ArgMax(10), ideal.ArgMax(10), logits(10), most=10**5),
    elementwise("topk3of7", argmax.TopK(7, 3), ideal.TopK(7, 3), logits(7), most=140_000),
    elementwise("pixels.mask", ingest.PixelsFromMask(), ideal.PixelsFromMask(), pixels),
    elementwise(
        "pixels.xor", ingest.PixelsFromXor(), ideal.PixelsFromXor(), unsigned(256, np.uint8), fresh=False
    ),
]
BY_NAME = {case.name: case for case in CASES}


def dealt(seed: int) -> tuple[Correlations, Correlations]:
    return dealt_pair(seed)


def assert_same(case: Case, got: np.ndarray, expected: np.ndarray, n: int) -> None:
    """Equal, or where the case says so, as near as that."""
    if case.tolerance:
        off = np.abs((got - expected).view(np.int32).astype(np.int64))
        assert off.max(initial=0) <= case.tolerance
    else:
        np.testing.assert_array_equal(valid_bits(case, got, n), valid_bits(case, expected, n))


def valid_bits(case: Case, y: np.ndarray, n: int) -> np.ndarray:
    """The output without the bits past n, which are unspecified."""
    if y.dtype != np.uint64:
        return y
    return np.unpackbits(y.view(np.uint8).reshape(-1, 8 * words(n)), axis=1, bitorder="little")[:, :n]
