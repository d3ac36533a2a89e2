"""Choice of the cut of each linear layer: the least bytes and work (DESIGN section 4, "Divide and conquer").

A cut trades four things against one another. More input channels in a polynomial mean fewer inputs to send
and more coefficients burnt by partial sums; more output channels mean fewer answers; more images or rows
mean that a weight polynomial serves more of them; and every product and every NTT costs time. `choose`
tries all tilings and packings of a layer and takes the cheapest in seconds by `Costs`. Sizes are exact;
times are estimates of one core. Both parties plan by themselves and find the same: shapes, batch and costs
are public constants.

    python -m blindsight.nn.planner M.plan.json [--batch 16]       the cut of every linear layer
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from blindsight.nn.cut import MAX_USES, Block, Cut
from blindsight.nn.ops import Add, Concat, Op, Permute, PlanError, Reshape, Slice, SumPool, WeightedOp
from blindsight.nn.plan import Plan, load_plan
from blindsight.nn.tiles import Conv, Tiles, axes, slot_size
from blindsight.params import CONCEALED, LINEAR, LOGITS, RingParams

PASS_POLYNOMIALS = 4096  # encrypted inputs at the cloud at once
CALL_ANSWERS = 1024  # answers in one message


@dataclass(frozen=True)
class Costs:
    """What the planner believes a thing costs: seconds of one core (measured with AVX2), bits of a
    coefficient.
    """

    byte: float = 1 / 50e6
    ntt: float = 9e-6  # one weight polynomial: scattered, transformed
    product: float = 4e-6  # one weight polynomial times both halves of a ciphertext, added up
    input: float = 95e-6  # encrypt, pack, unpack one input polynomial
    answer: float = 240e-6  # encryption of zero, mask, round, pack, open one answer
    up_bits: int = 50
    down_bits: int = 38
    share_bits: int = 32
    n: int = 2048
    primes: int = 1

    @classmethod
    def of(cls, ring: RingParams) -> "Costs":
        """The costs in a ring; the times are those of one prime at N = 2048, scaled. Bytes weigh more for concealed
        models, whose material is mostly bytes: an eighth less of them for a tenth more work.
        """
        primes = len(ring.primes)
        return cls(
            byte=1 / 20e6 if ring == CONCEALED else cls.byte,
            up_bits=ring.b_bits or 50 * primes,
            down_bits=ring.c1_bits,
            share_bits=ring.c0_bits,
            n=ring.n,
            primes=primes,
        )

    def work(self, inputs: Any, answers: Any, weights: Any, products: Any) -> Any:
        """Seconds of one core for so many of each; counts may be arrays."""
        each = inputs * self.input + answers * self.answer + weights * self.ntt + products * self.product
        return self.primes * self.n / 2048 * each


@dataclass(frozen=True)
class Price:
    """What a cut costs for a whole batch: bytes (frame headers apart) and counts are exact, seconds
    estimated.

    `weights` polynomials are transformed once a batch; `products` are those with both halves of a ciphertext.
    """

    up: int
    down: int
    inputs: int
    answers: int
    weights: int
    products: int
    work: float
    seconds: float

    @property
    def bytes(self) -> int:
        return self.up + self.down


def price(cut: Cut, costs: Costs) -> Price:
    """The price of a cut."""
    k, a, w, p = cut.input_polynomials, cut.answers, cut.weight_polynomials, cut.products
    up = 32 + math.ceil(k * cut.n * costs.up_bits / 8)
    down = math.ceil(a * cut.n * costs.down_bits / 8) + cut.batch * cut.conv.out_size * costs.share_bits // 8
    work = costs.work(k, a, w, p)
    return Price(up, down, k, a, w, p, work, (up + down) * costs.byte + work)


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
    for tiles, slots, how in _tilings(conv, batch, costs.n, unfold):
        cb = np.arange(1, min(slots, virtual) + 1)
        cb = np.unique(-(-virtual // -(-virtual // cb)))
        ob = np.minimum(slots // cb, conv.outputs)
        ob = -(-conv.outputs // -(-conv.outputs // ob))
        inputs, answers = -(-virtual // cb), -(-conv.outputs // ob)
        # channel-blocks under one answer: the groups it spans (short by one where groups straddle blocks)
        spans = np.minimum(-(-ob // out_group), conv.groups)
        weights = answers * np.minimum(inputs, -(-spans * in_group // cb))
        size = tiles * costs.n * (inputs * costs.up_bits + answers * costs.down_bits) / 8 + fixed
        work = costs.work(tiles * inputs, tiles * answers, weights, tiles * weights)
        seconds = np.where(inputs <= MAX_USES, size * costs.byte + work, math.inf)
        i = int(np.argmin(seconds))
        if seconds[i] < best:
            best, found = float(seconds[i]), (*how, int(cb[i]), int(ob[i]))
    return Cut(conv, batch, costs.n, *found, unfold) if found else None


def _parts(total: int) -> list[int]:
    """The distinct values of ceil(total / k)."""
    return sorted({-(-total // k) for k in range(1, total + 1)})


def _tilings(
    conv: Conv, batch: int, n: int, unfold: tuple[bool, bool]
) -> Iterator[tuple[int, int, tuple[int, int, bool]]]:
    """(tiles, slots of a polynomial, (rows, cols, aligned)) of every tiling that no other one beats in
    both.
    """
    row_axis, col_axis = axes(conv, batch, unfold)
    whole = [m * row_axis.pitch for m in range(1, batch + 1)]
    rows = [Tiles(row_axis, r, True) for r in _parts(conv.out_height) if r <= n]
    if batch > 1:
        rows += [Tiles(row_axis, r, False) for r in sorted({*_parts(row_axis.length), *whole}) if r <= n]
    cols = [Tiles(col_axis, c, True) for c in _parts(conv.out_width) if c <= n]
    found = []
    for r in rows:
        for c in cols:
            _, slot = slot_size(r, c)
            if slot <= n:
                found.append((len(r) * len(c), -(n // slot), (r.n, c.n, r.aligned)))
    most = 0
    for tiles, slots, how in sorted(found):
        if -slots > most:
            most = -slots
            yield tiles, most, how


@dataclass(frozen=True)
class Layer:
    """One linear operation at one batch: its ring and its cut. Public."""

    op: WeightedOp
    ring: RingParams
    cut: Cut

    @property
    def price(self) -> Price:
        return price(self.cut, Costs.of(self.ring))

    def passes(self) -> Iterator[range]:
        """The tiles, as many at a time as PASS_POLYNOMIALS allow."""
        step = max(1, PASS_POLYNOMIALS // self.cut.channel_blocks)
        for t in range(0, self.cut.tiles, step):
            yield range(t, min(t + step, self.cut.tiles))

    def calls(self, tiles: range) -> Iterator[tuple[Block, range]]:
        """The messages with the answers of some tiles: which block, which of the tiles."""
        for block in self.cut.blocks:
            step = max(1, CALL_ANSWERS // (block.a1 - block.a0))
            for t in range(tiles.start, tiles.stop, step):
                yield block, range(t, min(t + step, tiles.stop))


def exposed(plan: Plan) -> set[str]:
    """The linear operations whose accumulators are revealed: only local operations between them and the
    output.
    """
    if plan.reveal.mode not in ("logits", "probabilities"):
        return set()
    found, todo = set(), list(plan.ops[-1].inputs)
    while todo:
        op: Op = plan.op(todo.pop())
        if isinstance(op, WeightedOp):
            found.add(op.out)
        elif isinstance(op, Add | Concat | Reshape | Slice | Permute | SumPool):
            todo += op.inputs
    return found


def layers(plan: Plan, ops: Sequence[WeightedOp], batch: int) -> list[Layer]:
    """Ring and cut of each operation; both parties find the same."""
    fine, usual = exposed(plan), CONCEALED if plan.deployment == "concealed" else LINEAR
    out = []
    for op in ops:
        ring = LOGITS if op.out in fine else usual
        conv = Conv.of(op, plan.op(op.inputs[0]).shape)
        out.append(Layer(op, ring, choose(conv, batch, Costs.of(ring))))
    return out


HEADER = (
    "layer",
    "shape",
    "tiles",
    "rows x cols",
    "in x out",
    "slot",
    "up kB",
    "down kB",
    "NTTs",
    "products",
    "ms",
)


def explain(plan: Plan, batch: int = 16) -> str:
    """The cut of every linear layer as a table; bytes, NTTs, products and estimated milliseconds are an
    image's.
    """
    rows: list[Sequence[str]] = [HEADER]
    todo = layers(plan, plan.weighted, batch)
    for layer in todo:
        cut, conv, p = layer.cut, layer.cut.conv, layer.price
        kernel = "x".join(map(str, conv.kernel)) + (f"/{conv.stride[0]}" if conv.stride != (1, 1) else "")
        shape = f"{conv.channels}x{conv.height}x{conv.width} {kernel} {conv.outputs}"
        if conv.groups > 1:
            shape += f" g{conv.groups}"
        tile = f"{cut.rows.n}{'' if cut.rows.aligned else '~'} x {cut.cols.n}"
        counts = (f"{p.up / batch / 1e3:.1f}", f"{p.down / batch / 1e3:.1f}", f"{p.weights / batch:.1f}")
        rest = (f"{p.products / batch:.0f}", f"{p.work / batch * 1e3:.1f}")
        packing = f"{cut.cb} x {cut.ob}"
        rows.append((layer.op.out, shape, str(cut.tiles), tile, packing, str(cut.slot), *counts, *rest))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    prices = [layer.price for layer in todo]
    lines.append(
        f"batch {batch}, an image: {sum(p.up for p in prices) / batch / 1e6:.2f} MB up, "
        f"{sum(p.down for p in prices) / batch / 1e6:.2f} MB down, {sum(p.weights for p in prices) / batch:.0f} "
        f"weight NTTs, {sum(p.products for p in prices) / batch:.0f} products, "
        f"{sum(p.work for p in prices) / batch:.3f} s of one core (estimated; ~: tiles run on over images)"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="The cut of every linear layer of a public plan.")
    parser.add_argument("plan", help="M.plan.json")
    parser.add_argument("--batch", type=int, default=16, help="inferences made together, 1 to 16")
    args = parser.parse_args()
    if not 1 <= args.batch <= 16:
        parser.error("--batch is 1 to 16")
    try:
        plan = load_plan(args.plan)
    except (OSError, PlanError) as error:
        parser.error(str(error))
    print(explain(plan, args.batch))


if __name__ == "__main__":
    main()
