"""How one linear layer becomes polynomial products (DESIGN section 4, "Encoding").

Every linear layer is a convolution: a fully connected layer is one on a 1 x 1 picture, stride s is a
stride-1 convolution over the s*s sub-grids (phases) of the picture taken as more channels, and a batch is
one tall picture, its images one below the other with rows of zeros between. That picture is cut into tiles
of rows (with halo) and columns. A tile of one channel lies at pitch `row` in a polynomial; an input
polynomial holds `cb` channels at pitch `slot`, a weight polynomial the taps of `cb` input and `ob` output
channels, so that one product adds cb channels into each of ob outputs:

    input     channel c, row i, column j                  exponent  c*slot + i*row + j
    weight    output o, channel c, tap offset (q, q')      exponent  o*cb*slot - c*slot - q*row - q' + shift
    output    output o, row i, column j                    exponent  o*cb*slot + i*row + j + shift

Exponents are those of Laurent polynomials; X^N = -1 turns the negative ones into coefficients with the
other sign. The pitches leave just the zeros that keep every listed output free of other terms
(`slot_size`); a coefficient that is not listed holds partial sums and is never sent. No rotations, so no
evaluation keys.

A cut is public: a function of the layer's shape, the batch and the ring alone, never of a weight's value.
Source: Huang, Lu, Hong, Ding, "Cheetah", USENIX Security 2022, section 3 (coefficient encoding); the
phases, the tall picture and the shared padding are ours.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from blindsight.nn.ops import Conv2d, Linear, Op

BLOCK_POLYNOMIALS = 1024  # weight polynomials made at once: bounds the memory of a pass over the weights
MAX_USES = 4095  # products that the kernels accumulate into one answer


@dataclass(frozen=True)
class Conv:
    """The public shape of one linear layer: (channels, height, width) -> (outputs, out_height, out_width).

    `padding` is (top, left, bottom, right) of zeros. A fully connected layer is a 1 x 1 kernel on a 1 x 1
    picture.
    """

    channels: int
    height: int
    width: int
    outputs: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1

    def __post_init__(self) -> None:
        if (
            min(self.channels, self.height, self.width, self.outputs, *self.kernel, *self.stride, self.groups)
            < 1
        ):
            raise ValueError(f"a linear layer's sizes must be positive: {self}")
        if min(self.padding) < 0:
            raise ValueError(f"padding must not be negative: {self.padding}")
        if self.channels % self.groups or self.outputs % self.groups:
            raise ValueError(f"{self.groups} groups do not divide {self.channels} -> {self.outputs} channels")
        if self.out_height < 1 or self.out_width < 1:
            raise ValueError(
                f"kernel {self.kernel} does not fit into {self.height} x {self.width} with {self.padding}"
            )

    @classmethod
    def of(cls, op: Op, in_shape: tuple[int, ...]) -> "Conv":
        """The shape of a plan's linear operation on a tensor of shape `in_shape`."""
        if isinstance(op, Linear):
            return cls(math.prod(in_shape), 1, 1, op.shape[0])
        if not isinstance(op, Conv2d) or len(in_shape) != 3:
            raise ValueError(f"operation {op.out!r} ({op.kind}) on shape {in_shape} is not a linear layer")
        return cls(*in_shape, op.shape[0], op.kernel, op.stride, op.padding, op.groups)

    @property
    def out_height(self) -> int:
        return (self.height + self.padding[0] + self.padding[2] - self.kernel[0]) // self.stride[0] + 1

    @property
    def out_width(self) -> int:
        return (self.width + self.padding[1] + self.padding[3] - self.kernel[1]) // self.stride[1] + 1

    @property
    def in_size(self) -> int:
        return self.channels * self.height * self.width

    @property
    def out_size(self) -> int:
        return self.outputs * self.out_height * self.out_width

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return (self.outputs, self.channels // self.groups, *self.kernel)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return self.out_size * (self.channels // self.groups) * self.kernel[0] * self.kernel[1]


@dataclass(frozen=True)
class Axis:
    """One direction of a convolution as a stride-1 convolution: phase p holds the elements p, p + stride, ...

    `offsets[p]` lists, for each phase in use, the pairs (q, l): output i reads the phase's element i + q
    through tap l. `images` of them lie one after the other at pitch `pitch`, with zeros between. An
    `unfold`ed axis takes every tap as a phase of its own (im2col): it needs no halo but copies the input,
    so that it serves only kernels too large for a polynomial.
    """

    size: int
    out: int
    kernel: int
    stride: int
    pad: int
    images: int
    unfold: bool = False

    @cached_property
    def offsets(self) -> dict[int, list[tuple[int, int]]]:
        if self.unfold:
            return {l - self.pad: [(0, l)] for l in range(self.kernel)}
        found: dict[int, list[tuple[int, int]]] = {}
        for l in range(self.kernel):
            q, phase = divmod(l - self.pad, self.stride)
            found.setdefault(phase, []).append((q, l))
        return dict(sorted(found.items()))

    @property
    def q_min(self) -> int:
        return 0 if self.unfold else -self.pad // self.stride

    @property
    def q_max(self) -> int:
        return 0 if self.unfold else (self.kernel - 1 - self.pad) // self.stride

    @property
    def valid(self) -> int:
        """Elements of the longest phase that any output reads."""
        if self.unfold:
            return self.out
        return max(1, min(-(-self.size // self.stride), self.out + self.q_max))

    @property
    def pitch(self) -> int:
        return max(self.out + self.q_max, self.valid - self.q_min, self.out)

    @property
    def length(self) -> int:
        """Output positions of all images, those between images included."""
        return (self.images - 1) * self.pitch + self.out


class Tiles:
    """An axis cut into tiles of `n` output positions; every tile has the same layout.

    `aligned` tiles start afresh in every image; the others run on over the images.

    Attributes:
        outputs: int64 [tiles, n] output index (image * out + i), -1 where there is none.
        sources: int64 [tiles, stored] input position (image * pitch + u), -1 where there is a zero.
        lo, hi: the stored input positions, relative to a tile's first output position.
        y_lo, y_hi: the output positions in use, likewise.
        q_lo, q_hi: the offsets at which some output reads a stored position; other taps meet only zeros.
    """

    def __init__(self, axis: Axis, n: int, aligned: bool):
        self.axis, self.n, self.aligned = axis, n, aligned
        if aligned:
            starts = (np.arange(axis.images)[:, None] * axis.pitch + np.arange(0, axis.out, n)).ravel()
        else:
            starts = np.arange(0, axis.length, n)
        local = np.arange(n)
        image, i = np.divmod(starts[:, None] + local, axis.pitch)
        keep = (i < axis.out) & (image < axis.images)
        if aligned:
            keep &= image == (starts // axis.pitch)[:, None]
        keep_tile = keep.any(axis=1)
        starts, image, i, keep = starts[keep_tile], image[keep_tile], i[keep_tile], keep[keep_tile]
        self.outputs = np.where(keep, image * axis.out + i, -1)
        first, last = keep.argmax(axis=1), n - 1 - keep[:, ::-1].argmax(axis=1)
        self.y_lo, self.y_hi = int(first.min()), int(last.max())

        reach = np.arange(axis.q_min, n + axis.q_max)
        image, u = np.divmod(starts[:, None] + reach, axis.pitch)
        real = (u < axis.valid) & (image >= 0) & (image < axis.images)
        real &= (reach >= first[:, None] + axis.q_min) & (reach <= last[:, None] + axis.q_max)
        used = np.flatnonzero(real.any(axis=0))
        span = slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 1)
        self.lo, self.hi = int(reach[span][0]), int(reach[span][-1])
        self.sources = np.where(real, image * axis.pitch + u, -1)[:, span]
        self.q_lo, self.q_hi = max(axis.q_min, self.lo - self.y_hi), min(axis.q_max, self.hi - self.y_lo)

    def __len__(self) -> int:
        return len(self.outputs)

    @property
    def above(self) -> int:
        """The least pitch, less one, at which neighbours neither read nor overwrite each other."""
        return max(self.y_hi + self.q_hi - self.lo, self.hi - self.q_lo - self.y_lo, self.y_hi - self.y_lo)


def axes(conv: Conv, batch: int, unfold: tuple[bool, bool] = (False, False)) -> tuple[Axis, Axis]:
    """The row axis (with the batch) and the column axis of a layer."""
    (kh, kw), (sh, sw), (top, left, _, _) = conv.kernel, conv.stride, conv.padding
    rows = Axis(conv.height, conv.out_height, kh, sh, top, batch, unfold[0])
    return rows, Axis(conv.width, conv.out_width, kw, sw, left, 1, unfold[1])


def slot_size(rows: Tiles, cols: Tiles) -> tuple[int, int]:
    """(row pitch, slot): the least pitches at which no read of a row or channel meets another's elements."""
    row = cols.above + 1
    slot = 1 + max(
        (rows.y_hi + rows.q_hi - rows.lo) * row + cols.y_hi + cols.q_hi - cols.lo,
        (rows.hi - rows.q_lo - rows.y_lo) * row + cols.hi - cols.q_lo - cols.y_lo,
        (rows.y_hi - rows.y_lo) * row + cols.y_hi - cols.y_lo,
    )
    return row, slot


@dataclass(frozen=True)
class Block:
    """Answers [a0, a1) of a tile, which all use its channel-blocks [u0, u1)."""

    a0: int
    a1: int
    u0: int
    u1: int
    channels: int  # output channels in each answer


class Cut:
    """One layer at one batch, cut into ring-sized products. See the module's docstring for the encoding.

    The order on the wire: for each of `blocks`, for each of `tiles`, the answers a0 .. a1 - 1.

    Args:
        conv: the layer.
        batch: inferences made together, 1 to 16.
        n: ring dimension N (a power of two).
        rows, cols: output rows (of the tall picture) and columns of a tile.
        aligned: row tiles start afresh in each image.
        cb, ob: input and output channels in one polynomial.
        unfold: im2col of the rows, of the columns.

    Raises:
        ValueError: the tile does not fit into a polynomial.
    """

    def __init__(
        self,
        conv: Conv,
        batch: int,
        n: int,
        rows: int,
        cols: int,
        aligned: bool,
        cb: int,
        ob: int,
        unfold: tuple[bool, bool] = (False, False),
    ):
        self.conv, self.batch, self.n, self.cb, self.ob = conv, batch, n, cb, ob
        row_axis, col_axis = axes(conv, batch, unfold)
        self.rows, self.cols = Tiles(row_axis, rows, aligned), Tiles(col_axis, cols, True)
        self.row, self.slot = slot_size(self.rows, self.cols)
        self._known_places: dict[tuple[int, int, int], tuple[np.ndarray, np.ndarray]] = {}
        self._known_tiles: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        if cb < 1 or ob < 1 or cb * ob * self.slot > n:
            raise ValueError(f"{cb} x {ob} slots of {self.slot} coefficients do not fit into N = {n}")
        if self.channel_blocks > MAX_USES:
            raise ValueError(
                f"{self.channel_blocks} input polynomials in an answer, at most {MAX_USES} are possible"
            )

    @property
    def parameters(self) -> tuple[object, ...]:
        """What the cut follows from: equal parameters give equal polynomials."""
        rows, cols = self.rows, self.cols
        unfold = (rows.axis.unfold, cols.axis.unfold)
        return (self.conv, self.batch, self.n, rows.n, cols.n, rows.aligned, self.cb, self.ob, unfold)

    @cached_property
    def phases(self) -> list[tuple[int, int]]:
        return [(v, h) for v in self.rows.axis.offsets for h in self.cols.axis.offsets]

    @cached_property
    def _taps(self) -> tuple[np.ndarray, np.ndarray]:
        """Each phase's taps, int64 [F, T] each: index into the kernel (-1: none), exponent -(q*row + q')."""
        rows, cols = self.rows, self.cols
        index: list[list[int]] = []
        exponent: list[list[int]] = []
        for v, h in self.phases:
            down = [(q, l) for q, l in rows.axis.offsets[v] if rows.q_lo <= q <= rows.q_hi]
            across = [(q, l) for q, l in cols.axis.offsets[h] if cols.q_lo <= q <= cols.q_hi]
            index.append([k * self.conv.kernel[1] + l for _, k in down for _, l in across])
            exponent.append([-(q * self.row + q2) for q, _ in down for q2, _ in across])
        longest = max(1, *map(len, index))
        pad = [longest - len(x) for x in index]
        return (
            np.array([x + [-1] * p for x, p in zip(index, pad, strict=True)]),
            np.array([x + [0] * p for x, p in zip(exponent, pad, strict=True)]),
        )

    @property
    def virtual(self) -> int:
        """Channels of the stride-1 convolution: channels times phases, a channel's phases side by side."""
        return self.conv.channels * len(self.phases)

    @property
    def tiles(self) -> int:
        return len(self.rows) * len(self.cols)

    @property
    def channel_blocks(self) -> int:
        return -(-self.virtual // self.cb)

    @property
    def answer_blocks(self) -> int:
        return -(-self.conv.outputs // self.ob)

    @property
    def input_polynomials(self) -> int:
        return self.tiles * self.channel_blocks

    @property
    def answers(self) -> int:
        return self.tiles * self.answer_blocks

    @cached_property
    def uses_per_answer(self) -> np.ndarray:
        """int64 [answer_blocks, 2]: the channel-blocks [u0, u1) that an answer's convolution groups read."""
        first = np.arange(self.answer_blocks) * self.ob
        last = np.minimum(first + self.ob, self.conv.outputs) - 1
        out_per, in_per = self.conv.outputs // self.conv.groups, self.virtual // self.conv.groups
        return np.stack(
            [first // out_per * in_per // self.cb, ((last // out_per + 1) * in_per - 1) // self.cb + 1],
            axis=1,
        )

    @property
    def weight_polynomials(self) -> int:
        uses = self.uses_per_answer
        return int((uses[:, 1] - uses[:, 0]).sum())

    @property
    def products(self) -> int:
        """Products of a weight polynomial with a ciphertext."""
        return self.tiles * self.weight_polynomials

    @cached_property
    def blocks(self) -> list[Block]:
        """The answers in order, grouped by what they use, BLOCK_POLYNOMIALS weight polynomials at a time."""
        out: list[Block] = []
        uses, a = self.uses_per_answer, 0
        while a < self.answer_blocks:
            u0, u1 = (int(u) for u in uses[a])
            channels = min(self.ob, self.conv.outputs - a * self.ob)
            limit = a + max(1, BLOCK_POLYNOMIALS // (u1 - u0))
            end = a + 1
            while (
                end < min(limit, self.answer_blocks)
                and tuple(uses[end]) == (u0, u1)
                and (end + 1) * self.ob <= self.conv.outputs
            ):
                end += 1
            out.append(Block(a, end, u0, u1, channels))
            a = end
        return out

    def inputs(self, tile: int) -> np.ndarray:
        """Which element each coefficient of a tile's input polynomials holds.

        Returns:
            int32 [channel_blocks, N], index into the flattened (batch, channels, height, width) tensor; -1:
            zero (padding, unused). All signs are +1.
        """
        conv, (rt, ct) = self.conv, divmod(tile, len(self.cols))
        rows, cols = self.rows.sources[rt], self.cols.sources[ct]
        image, u = np.divmod(rows, self.rows.axis.pitch)
        phase = np.array(self.phases)
        i = u * conv.stride[0] + phase[:, :1]
        j = cols * conv.stride[1] + phase[:, 1:]
        good = ((rows >= 0) & (i >= 0) & (i < conv.height))[:, :, None] & (
            (cols >= 0) & (j >= 0) & (j < conv.width)
        )[:, None, :]
        plane = conv.height * conv.width
        element = (image * conv.channels * plane + i * conv.width)[:, :, None] + j[:, None, :]  # of channel 0
        element = element[None] + (np.arange(conv.channels) * plane)[:, None, None, None]
        element = np.where(good[None], element, -1).reshape(self.virtual, len(rows), len(cols))
        spread = np.full((self.channel_blocks * self.cb, len(rows) * self.row), -1, np.int32)
        spread.reshape(-1, len(rows), self.row)[: self.virtual, :, : len(cols)] = element
        used = (len(rows) - 1) * self.row + len(cols)
        out = np.full((self.channel_blocks, self.n), -1, np.int32)
        out[:, : self.cb * self.slot].reshape(-1, self.cb, self.slot)[:, :, :used] = spread[:, :used].reshape(
            self.channel_blocks, self.cb, used
        )
        return out

    def uses(self, block: Block, tile: int) -> np.ndarray:
        """int32 [U]: the input polynomials, numbered tile by tile, that the block's answers of this tile
        use.
        """
        return np.arange(block.u0, block.u1, dtype=np.int32) + np.int32(tile * self.channel_blocks)

    def _places(self, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """Where the taps of [U, ob, cb, T] go: positions int32 [U, P] (-1: none), signs int8 [U, P] (X^N =
        -1).
        """
        key = (block.u0, block.u1, block.channels)
        if key not in self._known_places:
            v = np.arange(block.u0 * self.cb, block.u1 * self.cb).reshape(-1, 1, self.cb)  # [U, 1, cb]
            index, exponent = (t[v % len(self.phases)] for t in self._taps)  # [U, 1, cb, T]
            o = np.arange(block.channels).reshape(-1, 1, 1)
            e = o * (self.cb * self.slot) - np.arange(self.cb)[:, None] * self.slot + exponent + self.shift
            wraps, position = np.divmod(e, self.n)  # [U, ob, cb, T]
            position = np.where((v[..., None] < self.virtual) & (index >= 0), position, -1)
            u = block.u1 - block.u0
            self._known_places[key] = (
                position.reshape(u, -1).astype(np.int32),
                (1 - 2 * (wraps & 1)).reshape(u, -1).astype(np.int32),
            )
        return self._known_places[key]

    def _spread(self, weight: np.ndarray, block: Block) -> np.ndarray:
        """The block's weights by output and virtual channel, [A * ob, U * cb, T]; zero where there is none."""
        conv, phases = self.conv, len(self.phases)
        o0, o1 = block.a0 * self.ob, (block.a1 - 1) * self.ob + block.channels
        v0, v1 = block.u0 * self.cb, min(block.u1 * self.cb, self.virtual)
        index = self._taps[0]
        out = np.zeros((o1 - o0, (block.u1 - block.u0) * self.cb, index.shape[1]), np.int32)
        in_per, out_per = conv.channels // conv.groups, conv.outputs // conv.groups
        for group in range(o0 // out_per, (o1 - 1) // out_per + 1):
            a, b = max(o0, group * out_per), min(o1, (group + 1) * out_per)
            lo, hi = max(v0, group * in_per * phases), min(v1, (group + 1) * in_per * phases)
            first = lo // phases
            some = weight[a:b, first - group * in_per : (hi - 1) // phases + 1 - group * in_per]
            taps = some.reshape(b - a, some.shape[1], -1)
            if not (phases == 1 and np.array_equal(index[0], np.arange(taps.shape[2]))):
                taps = np.where(index >= 0, taps[:, :, index], 0).reshape(b - a, -1, index.shape[1])
            out[a - o0 : b - o0, lo - v0 : hi - v0] = taps[:, lo - first * phases : hi - first * phases]
        return out

    @property
    def shift(self) -> int:
        """The exponent that brings the first output of every tile to coefficient 0."""
        return (self.rows.lo - self.rows.y_lo) * self.row + self.cols.lo - self.cols.y_lo

    def weights(self, weight: np.ndarray, block: Block) -> tuple[np.ndarray, np.ndarray]:
        """The block's weight polynomials, the same for every tile, as coefficients that may differ from zero.

        Args:
            weight: integers of shape `conv.weight_shape`, at most 16 bits.

        Returns:
            positions int32 [U, P]: coefficient that value p of the polynomials for channel-block u goes to;
            -1: none.
                Positions of one polynomial differ.
            values int32 [A, U, P].
        """
        positions, signs = self._places(block)
        a, u = block.a1 - block.a0, block.u1 - block.u0
        spread = self._spread(np.asarray(weight), block).reshape(a, block.channels, u, self.cb, -1)
        shaped = signs.reshape(u, block.channels, self.cb, -1)
        values = np.multiply(spread.transpose(0, 2, 1, 3, 4), shaped, order="C")
        return positions, values.reshape(a, u, -1)

    def listed(self, block: Block, tile: int) -> np.ndarray:
        """int32 [L]: the coefficients, ascending, that hold outputs in each of the block's answers of this
        tile.
        """
        o = np.arange(block.channels, dtype=np.int32)[:, None] * np.int32(self.cb * self.slot)
        return (o + self._tile(tile)[0]).reshape(-1)

    def outputs(self, block: Block, tile: int) -> np.ndarray:
        """int32 [A, L]: what each listed coefficient holds, in the flattened (batch, *output shape) tensor."""
        o = np.arange(block.a0, block.a1)[:, None] * self.ob + np.arange(block.channels)
        first = (o * (self.conv.out_height * self.conv.out_width)).astype(np.int32)
        return (first[:, :, None] + self._tile(tile)[1]).reshape(block.a1 - block.a0, -1)

    def _tile(self, tile: int) -> tuple[np.ndarray, np.ndarray]:
        """Of a tile's first output channel: the coefficients that hold outputs and which outputs, int32
        each.
        """
        if tile not in self._known_tiles:
            conv, (rt, ct) = self.conv, divmod(tile, len(self.cols))
            rows, cols = self.rows.outputs[rt], self.cols.outputs[ct]
            i, j = np.flatnonzero(rows >= 0), np.flatnonzero(cols >= 0)
            place = (i[:, None] - self.rows.y_lo) * self.row + (j - self.cols.y_lo)
            image, y = np.divmod(rows[i], conv.out_height)
            pixel = (image * conv.outputs * conv.out_height + y) * conv.out_width
            element = pixel[:, None] + cols[j]
            self._known_tiles[tile] = (
                place.reshape(-1).astype(np.int32),
                element.reshape(-1).astype(np.int32),
            )
        return self._known_tiles[tile]

    def steps(self) -> Iterator[tuple[Block, int]]:
        """(block, tile) in the order of the wire."""
        for block in self.blocks:
            for tile in range(self.tiles):
                yield block, tile
