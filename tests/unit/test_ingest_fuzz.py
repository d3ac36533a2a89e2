"""What fits docs/wire.md section 3 and 7 is accepted, whatever its values; what does not (a length, a spare bit, a
coefficient of q or more) is refused with one WireError: no other exception, no crash.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindsight.he import ingest
from blindsight.he.secret import ingest as secret
from blindsight.wire.blocks import C0_BITS, MASKED_BITS, Layout, Mode
from blindsight.wire.errors import WireError

KEY = secret.SecretKey(bytes(range(32)))
lattice = st.sampled_from([Mode.RLWE, Mode.RLWE_SK])
seeds = st.integers(0, 2**32)


def packed(values: np.ndarray, bits: int) -> bytes:
    """A little-endian bit stream, the last byte zero-filled."""
    return np.packbits((values[:, None] >> np.arange(bits)) & 1, bitorder="little").tobytes()


def polynomials(layout: Layout, rng: np.random.Generator, bits: int, below: int) -> list[bytearray]:
    """Random ones that fit: any head, coefficients in use below `below`."""
    return [
        bytearray(rng.bytes(layout.head_bytes) + packed(rng.integers(0, below, layout.used(i)), bits))
        for i in range(layout.polys)
    ]


def spare(layout: Layout, polys: list[bytearray], bits: int, at: int) -> bool:
    """Sets a spare bit of one polynomial; False where none has any."""
    having = [i for i in range(layout.polys) if layout.used(i) * bits % 8]
    if not having:
        return False
    poly = having[at % len(having)]
    used = layout.used(poly) * bits % 8
    polys[poly][-1] |= 1 << (used + at % (8 - used))
    return True


@given(
    *(lattice, st.integers(1, 2100), st.integers(1, 16), seeds),
    *(
        st.sampled_from(["nothing", "spare", "longer", "shorter", "one more", "one less"]),
        st.integers(0, 100),
    ),
)
def test_blocks(mode: Mode, pixels: int, per_block: int, seed: int, planted: str, at: int) -> None:
    layout = Layout(mode, pixels, per_block)
    bits = C0_BITS[mode]
    polys = polynomials(layout, np.random.default_rng(seed), bits, 1 << bits)
    wrong = planted != "nothing" and (planted != "spare" or spare(layout, polys, bits, at))
    blocks = [b"".join(polys[p] for p in layout.polys_of(i)) for i in range(layout.blocks)]
    block = at % len(blocks)
    if planted == "longer":
        blocks[block] += bytes(1 + at % 3)
    elif planted == "shorter":
        blocks[block] = blocks[block][: -1 - at % 3]
    elif planted == "one more":
        blocks.append(blocks[block])
    elif planted == "one less":
        del blocks[block]
    if wrong:
        with pytest.raises(WireError):
            ingest.mask(layout, blocks)
        return
    masked, b = ingest.mask(layout, blocks)
    a, key = secret.open_masked(layout, masked, KEY)
    assert a.shape == b.shape == (pixels,) and max(a.max(), b.max()) < 1024
    assert (key is None) == (mode is Mode.RLWE_SK) and (key is None or len(key) == 32)


@given(
    *(lattice, st.integers(1, 1100), seeds),
    *(st.sampled_from(["nothing", "spare", "q", "longer", "shorter"]), st.integers(0, 1 << 20)),
)
def test_masked_polynomials(mode: Mode, pixels: int, seed: int, planted: str, at: int) -> None:
    layout, rng = Layout(mode, pixels, 4), np.random.default_rng(seed)
    polys = polynomials(layout, rng, MASKED_BITS, ingest.Q)
    wrong = planted != "nothing" and (planted != "spare" or spare(layout, polys, MASKED_BITS, at))
    if planted == "q":
        poly = at % layout.polys
        values = rng.integers(0, ingest.Q, layout.used(poly))
        values[at % len(values)] = rng.choice([ingest.Q, ingest.Q + 1, (1 << MASKED_BITS) - 1])
        polys[poly][layout.head_bytes :] = packed(values, MASKED_BITS)
    data = b"".join(polys)
    if planted == "longer":
        data += bytes(1 + at % 3)
    elif planted == "shorter":
        data = data[: -1 - at % 3]
    if wrong:
        with pytest.raises(WireError):
            secret.open_masked(layout, data, KEY)
        return
    a, key = secret.open_masked(layout, data, KEY)
    assert a.shape == (pixels,) and a.max() < 1024 and (key is None) == (mode is Mode.RLWE_SK)
