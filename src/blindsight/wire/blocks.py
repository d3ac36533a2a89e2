"""How a picture becomes polynomials and blocks (docs/wire.md section 3): sizes and positions, all public.

Everything here is a function of mode and shape alone, never of what a sender says about positions: the
coefficients that carry the result key are the only ones the cloud leaves unmasked, so a sender must not
choose them.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass
from functools import cached_property

from blindsight.wire.errors import WireError

DEGREE = 1024  # coefficients of a polynomial; bytes of a slot in `aes` mode
KEY_COEFFICIENTS = 32
MAX_POLYS_PER_BLOCK = 16
MAX_BLOCK_BYTES = 65535  # "under 64 KiB": every managed broker takes it
MAX_PIXELS = 1 << 24  # 4096 x 4096 gray; bounds what one manifest can make a server allocate
C1_BITS = 18
MASKED_BITS = 26  # a coefficient of c0 on the server link, whole


class Mode(enum.IntEnum):
    """Ingest modes; the value is the manifest's byte."""

    RLWE = 0
    RLWE_SK = 1
    AES = 2

    @property
    def label(self) -> str:
        """The name used in configuration and on the command line."""
        return self.name.lower().replace("_", "-")

    @classmethod
    def named(cls, label: str) -> Mode:
        """The mode called `label`, else `WireError`."""
        for mode in cls:
            if mode.label == label:
                return mode
        raise WireError(f"ingest mode {label[:20]!r}: one of {', '.join(m.label for m in cls)}")


class PixelFormat(enum.IntEnum):
    """Pixel formats; the value is the manifest's byte."""

    GRAY8 = 0
    RGB888 = 1

    @property
    def channels(self) -> int:
        """Bytes a pixel."""
        return 1 if self is PixelFormat.GRAY8 else 3


C0_BITS = {Mode.RLWE: 12, Mode.RLWE_SK: 11}


def packed(count: int, bits: int) -> int:
    """Bytes of `count` values of `bits` bits."""
    return (count * bits + 7) // 8


@dataclass(frozen=True)
class Span:
    """Coefficients `start` .. `start + count` of polynomial `poly`."""

    poly: int
    start: int
    count: int


@dataclass(frozen=True)
class Layout:
    """The cut of one picture. `pixels` is height x width x channels bytes in capture order (HWC)."""

    mode: Mode
    pixels: int
    polys_per_block: int

    def __post_init__(self) -> None:
        if not 1 <= self.pixels <= MAX_PIXELS:
            raise WireError(f"a picture of {self.pixels} bytes; 1 to {MAX_PIXELS} are possible")
        if not 1 <= self.polys_per_block <= MAX_POLYS_PER_BLOCK:
            raise WireError(
                f"{self.polys_per_block} polynomials a block; 1 to {MAX_POLYS_PER_BLOCK} are possible"
            )

    @cached_property
    def key_span(self) -> Span | None:
        """Where the 32 result-key bytes sit (`rlwe` only)."""
        if self.mode is not Mode.RLWE:
            return None
        last, used = divmod(self.pixels, DEGREE)
        if used == 0 or DEGREE - used < KEY_COEFFICIENTS:
            return Span(-(-self.pixels // DEGREE), 0, KEY_COEFFICIENTS)
        return Span(last, used, KEY_COEFFICIENTS)

    @cached_property
    def polys(self) -> int:
        """Number of polynomials (slots in `aes` mode)."""
        pixels = -(-self.pixels // DEGREE)
        return pixels if self.key_span is None else max(pixels, self.key_span.poly + 1)

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.polys // self.polys_per_block)

    def pixels_in(self, poly: int) -> int:
        """Pixel bytes of polynomial `poly`: its coefficients 0 .. that."""
        return max(0, min(DEGREE, self.pixels - poly * DEGREE))

    def used(self, poly: int) -> int:
        """Coefficients in use: pixels and key bytes."""
        key = self.key_span
        return self.pixels_in(poly) + (key.count if key is not None and key.poly == poly else 0)

    @property
    def head_bytes(self) -> int:
        """Bytes in front of a polynomial's c0: packed c1, the seed, or nothing."""
        return {Mode.RLWE: packed(DEGREE, C1_BITS), Mode.RLWE_SK: 32, Mode.AES: 0}[self.mode]

    def poly_bytes(self, poly: int) -> int:
        """Bytes of polynomial `poly` as the device sends it."""
        if self.mode is Mode.AES:
            return self.used(poly)
        return self.head_bytes + packed(self.used(poly), C0_BITS[self.mode])

    def masked_bytes(self, poly: int) -> int:
        """Bytes of polynomial `poly` on the server link (docs/wire.md section 7); nothing travels in `aes`
        mode.
        """
        if self.mode is Mode.AES:
            return 0
        return self.head_bytes + packed(self.used(poly), MASKED_BITS)

    def polys_of(self, block: int) -> range:
        """The polynomials of block `block`."""
        first = block * self.polys_per_block
        return range(first, min(first + self.polys_per_block, self.polys))

    def block_bytes(self, block: int) -> int:
        """Exact size of block `block`."""
        return sum(self.poly_bytes(p) for p in self.polys_of(block))

    def split(self, block: int, data: bytes) -> list[bytes]:
        """The polynomials of block `block`; `WireError` unless `data` has exactly its size."""
        if not 0 <= block < self.blocks:
            raise WireError(f"block {block} of a picture of {self.blocks}")
        if len(data) != self.block_bytes(block):
            raise WireError(f"block {block} has {len(data)} bytes, not {self.block_bytes(block)}")
        return _cut(data, [self.poly_bytes(p) for p in self.polys_of(block)])

    def split_masked(self, data: bytes) -> list[bytes]:
        """All polynomials of the server link; `WireError` unless `data` has exactly their size."""
        sizes = [self.masked_bytes(p) for p in range(self.polys)]
        if len(data) != sum(sizes):
            raise WireError(f"{len(data)} bytes of masked polynomials, not {sum(sizes)}")
        return _cut(data, sizes)

    def c1_hash(self, polys: list[bytes]) -> bytes:
        """SHA-256 of the c1 (or seeds) at the head of one block's polynomials, as sent or masked."""
        return hashlib.sha256(b"".join(p[: self.head_bytes] for p in polys)).digest()


def commitment(salt: bytes, block: int, data: bytes) -> bytes:
    """SHA-256(salt || u16 block number || block bytes). The salt keeps the helper from confirming guesses
    of a picture.
    """
    return hashlib.sha256(salt + block.to_bytes(2, "little") + data).digest()


def _cut(data: bytes, sizes: list[int]) -> list[bytes]:
    out, at = [], 0
    for size in sizes:
        out.append(data[at : at + size])
        at += size
    return out
