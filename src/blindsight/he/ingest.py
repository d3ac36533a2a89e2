"""From a picture's blocks to the cloud's share of its pixels (DESIGN section 2, docs/wire.md sections 3 and 7).

What the cloud runs; it holds no key. Adversary: either server alone, semi-honest, with any set of devices; devices may
be malicious. The cloud restores the rounded c0, adds R + floor(delta/2) with R uniform in Z_q to every pixel
coefficient and sends c0 + R beside the c1 it was given: what the helper decrypts is exactly uniform, so it learns
nothing of the pixels, with no assumption on the size of the noise (one-time pad; Z_q version of the masking in
Gilad-Bachrach et al., CCS 2019). The cloud learns nothing under RLWE. R is drawn fresh for every call: a second attempt
calls `mask` again or resends the same bytes, never the same R with another mask elsewhere.

The helper gets a = floor(1024*v/q) (`he.secret.ingest.open_masked`), the cloud keeps b = floor(1024*R/q), and
x = (a>>2) - (b>>2) - [a mod 4 < b mod 4] + 256*[a < b] as long as |error| < delta/8: `mpc.PixelsFromMask` computes it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from blindsight import _device
from blindsight.fixed.rng import Rng, SystemRng
from blindsight.wire.blocks import C0_BITS, MASKED_BITS, Layout, Mode
from blindsight.wire.errors import WireError

Q = 67104769
DELTA = (Q - 1) // 256
SHARE_BITS = 10
C0_DROPPED = {Mode.RLWE: 14, Mode.RLWE_SK: 15}

Words = npt.NDArray[np.uint32]
Shares = npt.NDArray[np.uint16]


def uniform_mod_q(rng: Rng, count: int) -> Words:
    """`count` exactly uniform values of Z_q (rejection sampling: 1 in 16,000 is drawn again)."""
    out = np.empty(count, np.uint32)
    have = 0
    while have < count:
        words = np.frombuffer(rng.bytes(4 * (count - have)), "<u4") & np.uint32((1 << MASKED_BITS) - 1)
        good = words[words < Q]
        out[have : have + good.size] = good
        have += good.size
    return out


def share(values: Words) -> Shares:
    """floor(1024 * v / q) of values in [0, q): a 10-bit share."""
    return ((values.astype(np.uint64) << SHARE_BITS) // Q).astype(np.uint16)


def unpack(data: bytes, count: int, bits: int) -> Words:
    """`count` values of `bits` bits; `WireError` where the length or the fill of the last byte is wrong."""
    try:
        return _device.unpack(data, count, bits)
    except ValueError as e:
        raise WireError(f"polynomial: {e}") from None


def restore_c0(mode: Mode, packed: bytes, used: int) -> Words:
    """The rounded c0 with half a step added back; uint32 (used,), in [0, q)."""
    drop = C0_DROPPED[mode]
    values = unpack(packed, used, C0_BITS[mode])
    return ((values << np.uint32(drop)) + np.uint32(1 << (drop - 1))) % np.uint32(Q)


def _polynomials(layout: Layout, blocks: Sequence[bytes]) -> list[bytes]:
    if len(blocks) != layout.blocks:
        raise WireError(f"{len(blocks)} blocks of a picture of {layout.blocks}")
    return [poly for i, block in enumerate(blocks) for poly in layout.split(i, block)]


def mask(layout: Layout, blocks: Sequence[bytes], rng: Rng | None = None) -> tuple[bytes, Shares]:
    """(masked polynomials for the helper, the cloud's shares b) of a picture in a lattice mode.

    `blocks`: every block in order, as the device sent it. The bytes are those of docs/wire.md section 7 (head, then c0
    at 26 bits a coefficient); b is uint16 (pixels,), below 1,024. Keep b secret from the helper and use it once. The
    result-key coefficients (`rlwe`) travel unmasked, at positions that `layout` alone fixes. Raises `WireError` for
    wrong counts, lengths or fill.
    """
    if layout.mode is Mode.AES:
        raise ValueError("`aes` pictures are not masked; use ciphertext_share")
    rng = rng or SystemRng()
    masks = uniform_mod_q(rng, layout.pixels)
    out: list[bytes] = []
    for i, poly in enumerate(_polynomials(layout, blocks)):
        c0 = restore_c0(layout.mode, poly[layout.head_bytes :], layout.used(i))
        pixels = layout.pixels_in(i)
        r = masks[i * 1024 : i * 1024 + pixels]
        c0[:pixels] = (c0[:pixels] + r + np.uint32(DELTA // 2)) % np.uint32(Q)
        out += (poly[: layout.head_bytes], _device.pack(c0, MASKED_BITS))
    return b"".join(out), share(masks)


def ciphertext_share(layout: Layout, blocks: Sequence[bytes]) -> npt.NDArray[np.uint8]:
    """`aes`: the cloud's boolean share of the pixels, uint8 (pixels,): the ciphertext itself."""
    if layout.mode is not Mode.AES:
        raise ValueError("only `aes` ciphertexts are shares as they are; use mask")
    return np.frombuffer(b"".join(_polynomials(layout, blocks)), np.uint8)
