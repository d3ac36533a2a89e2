"""A slot: what one party's side of one inference consumes, and its byte form.

The byte form is a flat concatenation in the order the plan gives; sizes follow from the plan, so nothing in it is trusted or parsed.
"""

from dataclasses import dataclass

import numpy as np

from blindsight.ot.correlations import Draw, words


@dataclass
class Slot:
    """Material of one inference, one party's half.

    Attributes:
        index: its number in the pool, -1 when it was made on demand.
        masks: tensor name -> r, `uint32` flat: the helper's r, or in concealed mode either party's share of it.
        linear: op output name -> share of W*r, `uint32` flat.
        draws: the correlations in the order they are consumed.
    """

    index: int
    masks: dict[str, np.ndarray]
    linear: dict[str, np.ndarray]
    draws: list[tuple[Draw, tuple[np.ndarray, ...]]]


class Tape:
    """`Correlations` from a slot: hands out each draw once, in order, and refuses any other request."""

    def __init__(self, draws: list[tuple[Draw, tuple[np.ndarray, ...]]]) -> None:
        self._draws = draws
        self._at = 0

    def draw(self, d: Draw) -> tuple[np.ndarray, ...]:
        """The next draw.

        Raises:
            LookupError: it is not the one asked for; the plan and the material differ.
        """
        if self._at == len(self._draws):
            raise LookupError(f"the slot's correlations are used up; {d} was asked")
        have, arrays = self._draws[self._at]
        if have != d:
            raise LookupError(f"the slot holds {have} next, {d} was asked: material of another plan")
        self._draws[self._at] = (have, ())
        self._at += 1
        return arrays


@dataclass(frozen=True)
class Layout:
    """Sizes of a slot, from the plan: everything needed to read its bytes back; `masks` are those this party holds."""

    party: int
    masks: dict[str, int]
    linear: dict[str, int]
    draws: tuple[Draw, ...]

    def arrays(self) -> list[tuple[np.dtype, tuple[int, ...]]]:
        """dtype and shape of every array in byte order: masks, linear shares, draws."""
        out: list[tuple[np.dtype, tuple[int, ...]]] = [
            (np.dtype("<u4"), (n,)) for n in (*self.masks.values(), *self.linear.values())
        ]
        for d in self.draws:
            out += draw_arrays(d, self.party)
        return out

    @property
    def nbytes(self) -> int:
        return sum(dtype.itemsize * int(np.prod(shape)) for dtype, shape in self.arrays())

    def pack(self, slot: Slot) -> bytes:
        parts = [
            *slot.masks.values(),
            *slot.linear.values(),
            *(a for _, arrays in slot.draws for a in arrays),
        ]
        for part, (dtype, shape) in zip(parts, self.arrays(), strict=True):
            if part.dtype != dtype or part.shape != shape:
                raise ValueError(f"slot array {part.dtype}{part.shape} where {dtype}{shape} belongs")
        return b"".join(np.ascontiguousarray(p).tobytes() for p in parts)

    def unpack(self, data: bytes, index: int) -> Slot:
        """The slot in `data`.

        Raises:
            ValueError: `data` has another length than the plan's slots.
        """
        if len(data) != self.nbytes:
            raise ValueError(f"a slot of {len(data)} bytes where the plan has {self.nbytes}")
        buffer, at = bytearray(data), 0
        arrays = []
        for dtype, shape in self.arrays():
            count = int(np.prod(shape))
            arrays.append(np.frombuffer(buffer, dtype, count, at).reshape(shape))
            at += dtype.itemsize * count
        take = iter(arrays)
        masks = {name: next(take) for name in self.masks}
        linear = {name: next(take) for name in self.linear}
        draws = [(d, tuple(next(take) for _ in draw_arrays(d, self.party))) for d in self.draws]
        return Slot(index, masks, linear, draws)


def draw_arrays(d: Draw, party: int) -> list[tuple[np.dtype, tuple[int, ...]]]:
    """dtype and shape of the arrays that `party` holds of a draw (docs/interfaces.md)."""
    u64, u32, w = np.dtype("<u8"), np.dtype("<u4"), words(d.n)
    if d.kind == "triples":
        return [(u64, (w,))] * 3
    pads = (u64, (d.w, w)) if d.kind == "bits" else (u32, (d.n,))
    if d.sender == party:
        return [(pads[0], (1 << d.k, *pads[1]))]
    return [(u64, (d.k, w)), pads]


def batch_draw(d: Draw, batch: int) -> Draw:
    """The draw that holds `batch` copies of `d`, each starting at a whole word."""
    return Draw(d.kind, d.sender, d.k, d.w, 64 * words(d.n) * batch)


def split_draw(
    d: Draw, batch: int, party: int, arrays: tuple[np.ndarray, ...]
) -> list[tuple[np.ndarray, ...]]:
    """Undo `batch_draw`: the arrays of each copy."""
    out = []
    for b in range(batch):
        pieces = []
        for array, (dtype, shape) in zip(arrays, draw_arrays(d, party), strict=True):
            step = words(d.n) if dtype.itemsize == 8 else 64 * words(d.n)
            pieces.append(np.ascontiguousarray(array[..., b * step : b * step + shape[-1]]))
        out.append(tuple(pieces))
    return out
