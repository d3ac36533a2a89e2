"""Choice of the cut of each linear layer: the least bytes and work (DESIGN section 4, "Divide and conquer").

A cut trades four things against one another. More input channels in a polynomial mean fewer inputs to send
and more coefficients burnt by partial sums; more output channels mean fewer answers; more images or rows
mean that a weight polynomial serves more of them; and every product and every NTT costs time. `choose`
tries all tilings and packings of a layer and takes the cheapest in seconds by `Costs`. Sizes are exact;
times are estimates of one core.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from blindsight.nn.cut import MAX_USES, Conv, Cut, Tiles, axes, slot_size
from blindsight.params import RingParams

Tiling = tuple[int, int, bool, int, int]


@dataclass(frozen=True)
class Costs:
    """What the planner believes a thing costs: seconds of one core (measured with AVX2), bits of a
    coefficient.
    """

    byte: float = 1 / 50e6
    ntt: float = 10e-6  # one weight polynomial: scattered, transformed
    product: float = 6e-6  # one weight polynomial times both halves of a ciphertext, added up
    input: float = 90e-6  # encrypt, pack, unpack one input polynomial
    answer: float = 240e-6  # encryption of zero, mask, round, pack, open one answer
    up_bits: int = 50
    down_bits: int = 39
    share_bits: int = 32
    n: int = 2048
    primes: int = 1

    @classmethod
    def of(cls, ring: RingParams) -> "Costs":
        """The costs in a ring; the times are those of one prime at N = 2048, scaled."""
        primes = len(ring.primes)
        return cls(
            up_bits=50 * primes, down_bits=ring.c1_bits, share_bits=ring.c0_bits, n=ring.n, primes=primes
        )


@dataclass(frozen=True)
class Price:
    """Exact sizes and counts of one cut, for a whole batch."""

    up: int
    down: int
    inputs: int
    answers: int
    weights: int
    products: int
    seconds: float

    @property
    def bytes(self) -> int:
        return self.up + self.down


def price(cut: Cut, costs: Costs) -> Price:
    """What a cut costs: bytes both ways (frame headers apart), weight NTTs (one a batch each), products."""
    up = 32 + math.ceil(cut.input_polynomials * cut.n * costs.up_bits / 8)
    down = (
        math.ceil(cut.answers * cut.n * costs.down_bits / 8)
        + cut.batch * cut.conv.out_size * costs.share_bits // 8
    )
    k, a, w, p = cut.input_polynomials, cut.answers, cut.weight_polynomials, cut.products
    return Price(up, down, k, a, w, p, (up + down) * costs.byte + _work(costs, k, a, w, p))


def _work(costs: Costs, inputs: Any, answers: Any, weights: Any, products: Any) -> Any:
    """Seconds of one core; counts may be arrays."""
    return (costs.primes * costs.n / 2048) * (
        inputs * costs.input + answers * costs.answer + weights * costs.ntt + products * costs.product
    )


def _parts(total: int) -> list[int]:
    """The distinct values of ceil(total / k)."""
    return sorted({-(-total // k) for k in range(1, total + 1)})


def _tilings(
    conv: Conv, batch: int, n: int, unfold: tuple[bool, bool]
) -> Iterator[tuple[int, int, bool, int, int]]:
    """(rows, cols, aligned, tiles, slots of a polynomial) of every tiling worth trying."""
    row_axis, col_axis = axes(conv, batch, unfold)
    whole = [m * row_axis.pitch for m in range(1, batch + 1)]
    rows = [Tiles(row_axis, r, True) for r in _parts(conv.out_height) if r <= n]
    rows += [
        Tiles(row_axis, r, False) for r in sorted({*_parts(row_axis.length), *whole}) if r <= n and batch > 1
    ]
    cols = [Tiles(col_axis, c, True) for c in _parts(conv.out_width) if c <= n]
    for r in rows:
        for c in cols:
            _, slot = slot_size(r, c)
            if slot <= n:
                yield r.n, c.n, r.aligned, len(r) * len(c), n // slot


@lru_cache(maxsize=4096)
def choose(conv: Conv, batch: int, costs: Costs = Costs()) -> Cut:
    """The cheapest cut of a layer at a batch; there is one for every shape."""
    for unfold in ((False, False), (True, False), (True, True)):
        cut = _cheapest(conv, batch, costs, unfold)
        if cut:
            return cut
    raise AssertionError("one element always fits into a polynomial")


def _cheapest(conv: Conv, batch: int, costs: Costs, unfold: tuple[bool, bool]) -> Cut | None:
    virtual = conv.channels * math.prod(len(axis.offsets) for axis in axes(conv, batch, unfold))
    in_group, out_group = virtual // conv.groups, conv.outputs // conv.groups
    fixed = batch * conv.out_size * costs.share_bits / 8
    best, found = math.inf, None
    for rows, cols, aligned, tiles, slots in _tilings(conv, batch, costs.n, unfold):
        cb = np.arange(1, min(slots, virtual) + 1)
        cb = np.unique(-(-virtual // -(-virtual // cb)))
        ob = np.minimum(slots // cb, conv.outputs)
        ob = -(-conv.outputs // -(-conv.outputs // ob))
        inputs, answers = -(-virtual // cb), -(-conv.outputs // ob)
        # channel-blocks under one answer: the groups it spans (short by one where groups straddle blocks)
        spans = np.minimum(-(-ob // out_group), conv.groups)
        weights = answers * np.minimum(inputs, -(-spans * in_group // cb))
        size = tiles * costs.n * (inputs * costs.up_bits + answers * costs.down_bits) / 8 + fixed
        work = _work(costs, tiles * inputs, tiles * answers, weights, tiles * weights)
        seconds = np.where(inputs <= MAX_USES, size * costs.byte + work, math.inf)
        i = int(np.argmin(seconds))
        if seconds[i] < best:
            best, found = float(seconds[i]), (rows, cols, aligned, int(cb[i]), int(ob[i]))
    return Cut(conv, batch, costs.n, *found, unfold) if found else None
