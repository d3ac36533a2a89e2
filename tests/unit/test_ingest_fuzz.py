"""Whatever bytes arrive, ingest answers with shares of the right shape or one WireError: no other exception, no crash."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from blindsight.he import ingest
from blindsight.he.secret import ingest as secret
from blindsight.wire.blocks import Layout, Mode
from blindsight.wire.errors import WireError

KEY = secret.SecretKey(bytes(range(32)))
lattice = st.sampled_from([Mode.RLWE, Mode.RLWE_SK])


@settings(max_examples=60, deadline=None)
@given(
    lattice, st.integers(1, 2100), st.integers(1, 16), st.randoms(use_true_random=False), st.integers(-2, 2)
)
def test_blocks(mode: Mode, pixels: int, per_block: int, random: object, extra: int) -> None:
    layout = Layout(mode, pixels, per_block)
    rng = np.random.default_rng(random.randrange(1 << 32))  # type: ignore[attr-defined]
    blocks = [rng.bytes(layout.block_bytes(i)) for i in range(layout.blocks)]
    if extra:
        blocks[-1] = rng.bytes(max(0, len(blocks[-1]) + extra))
    try:
        masked, b = ingest.mask(layout, blocks)
    except WireError:
        return
    assert extra == 0
    a, key = secret.open_masked(layout, masked, KEY)
    assert a.shape == b.shape == (pixels,) and max(a.max(), b.max()) < 1024
    assert (key is None) == (mode is Mode.RLWE_SK) and (key is None or len(key) == 32)


@settings(max_examples=60, deadline=None)
@given(lattice, st.integers(1, 1100), st.binary(max_size=64), st.integers(0, 1 << 20))
def test_masked_polynomials(mode: Mode, pixels: int, noise: bytes, at: int) -> None:
    layout = Layout(mode, pixels, 4)
    data = bytearray(sum(layout.masked_bytes(i) for i in range(layout.polys)))
    at %= len(data)
    data[at : at + len(noise)] = noise
    try:
        a, _ = secret.open_masked(layout, bytes(data), KEY)
    except WireError:
        return
    assert a.shape == (pixels,) and a.max() < 1024
