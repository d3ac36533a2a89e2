"""The shape of a linear layer, and how its picture is cut into tiles (`nn.cut` has the encoding).

A batch is one tall picture, a stride becomes phases: every layer is a stride-1 convolution along two axes, and an axis
is cut into tiles of one layout. All of it follows from the layer's shape and the batch, and is public.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from blindsight.nn.ops import Conv2d, Linear, Op


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
