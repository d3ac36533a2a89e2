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
(`nn.tiles.slot_size`); a coefficient that is not listed holds partial sums and is never sent. No rotations, so no
evaluation keys.

A cut is public: a function of the layer's shape, the batch and the ring alone, never of a weight's value.
Source: Huang, Lu, Hong, Ding, "Cheetah", USENIX Security 2022, section 3 (coefficient encoding); the
phases, the tall picture and the shared padding are ours.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from blindsight.nn.tiles import Conv, Tiles, axes, slot_size

BLOCK_POLYNOMIALS = 1024  # weight polynomials made at once: bounds the memory of a pass over the weights
MAX_USES = 4095  # products that the kernels accumulate into one answer


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
