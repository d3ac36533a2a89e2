"""The bit-sliced kernels against numpy, portable and fastest, for every width and awkward length."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import blindsight._native as native

SIZES = st.sampled_from([1, 2, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 257, 1000])
SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(params=native.isas(), autouse=True)
def isa(request):
    native.set_isa(request.param)
    yield
    native.set_isa("native")


def words(n: int) -> int:
    return (n + 63) // 64


def bits_of(rows: np.ndarray, n: int) -> np.ndarray:
    """uint64 [..., W] to uint32 [..., n] of 0 and 1."""
    flat = np.ascontiguousarray(rows).view(np.uint8)
    return np.unpackbits(flat, axis=-1, bitorder="little")[..., :n].astype(np.uint32)


def number(planes: np.ndarray, n: int) -> np.ndarray:
    return sum((bits_of(p, n) << np.uint32(j) for j, p in enumerate(planes)), np.zeros(n, np.uint32))


def u32(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(0, 1 << 32, shape, dtype=np.uint32)


def u64(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(0, 1 << 64, shape, dtype=np.uint64)


def low(w: int) -> np.uint32:
    return np.uint32((1 << w) - 1)


common = settings(max_examples=40, deadline=None)


@common
@given(n=SIZES, w=st.integers(1, 32), seed=SEEDS)
def test_slicing_and_back(n: int, w: int, seed: int) -> None:
    x = u32(np.random.default_rng(seed), n)
    planes = native.slice_bits(x, w)
    np.testing.assert_array_equal(bits_of(planes, n), [(x >> np.uint32(j)) & 1 for j in range(w)])
    assert not bits_of(planes, 64 * words(n))[:, n:].any()
    np.testing.assert_array_equal(native.unslice_bits(planes, n), x & low(w))


@common
@given(n=SIZES, f=st.integers(0, 31), data=st.data(), seed=SEEDS)
def test_truncation(n: int, f: int, data: st.DataObject, seed: int) -> None:
    m = data.draw(st.integers(1, 32 - f))
    x = u32(np.random.default_rng(seed), n)
    for add in (0, 1 << f):
        out, planes = native.truncate_bits(x, add, f, m)
        np.testing.assert_array_equal(out, ((x + np.uint32(add)) >> np.uint32(f)) & low(m))
        np.testing.assert_array_equal(number(planes, n), out)


@common
@given(n=SIZES, k=st.integers(1, 4), w=st.integers(1, 2), seed=SEEDS)
def test_comparison_leaf(n: int, k: int, w: int, seed: int) -> None:
    """Shares add up to [a < b] and [a == b]; message 0 is never sent, the others are the formula's."""
    rng, W = np.random.default_rng(seed), words(n)
    a, b, choice, pads = u64(rng, k, W), u64(rng, k, W), u64(rng, k, W), u64(rng, 1 << k, w, W)
    messages = np.empty(((1 << k) - 1, w, W), np.uint64)
    own = native.leaf_messages(a, b ^ choice, pads, messages)
    picked = bits_of(pads, n)[number(choice, n), :, np.arange(n)].T  # [w, n]
    pad = np.packbits(np.pad(picked.astype(np.uint8), ((0, 0), (0, 64 * W - n))), axis=1, bitorder="little")
    other = native.leaf_select(b, np.ascontiguousarray(pad).view(np.uint64), messages)
    va, vb, shift = number(a, n), number(b, n), number(b ^ choice, n)
    got = bits_of(own ^ other, n)
    np.testing.assert_array_equal(got[0], va < vb)
    if w == 2:
        np.testing.assert_array_equal(got[1], va == vb)
    for j in range(1, 1 << k):
        for v, plain in enumerate((va < j, va == j)[:w]):
            pad_j = bits_of(pads[:, v], n)[shift ^ j, np.arange(n)]
            np.testing.assert_array_equal(bits_of(messages[j - 1, v] ^ own[v], n), plain ^ pad_j)


@common
@given(n=SIZES, w=st.integers(1, 4), seed=SEEDS)
def test_and_gate(n: int, w: int, seed: int) -> None:
    rng, W = np.random.default_rng(seed), words(n)
    x, y, a, pads = u64(rng, 2, W), u64(rng, 2, w, W), u64(rng, 2, W), u64(rng, 2, 2, w, W)
    wide = np.stack([pads, u64(rng, *pads.shape)], axis=-2)  # a gate cut out of wider rows
    got = [pads[1 - i][0] ^ (a[i] & (pads[1 - i][0] ^ pads[1 - i][1])) for i in (0, 1)]
    cut = [wide[i][:, :, 0] for i in (0, 1)]
    openings = [native.and_open(x[i], y[i], a[i], cut[i], got[i]) for i in (0, 1)]
    z = [native.and_combine(openings[i], openings[1 - i], a[i], cut[i], got[i], i == 0) for i in (0, 1)]
    np.testing.assert_array_equal(z[0] ^ z[1], (x[0] ^ x[1]) & (y[0] ^ y[1]))
    np.testing.assert_array_equal(openings[0][0], x[0] ^ a[0])


@common
@given(n=SIZES, m=st.integers(1, 32), seed=SEEDS)
def test_multiplexer(n: int, m: int, seed: int) -> None:
    rng, W = np.random.default_rng(seed), words(n)
    bit, choice = u64(rng, 2, W), u64(rng, 2, W)
    x, pads = u32(rng, 2, n), u32(rng, 2, 2, n) & low(m)
    own = [bits_of(choice[i], n) for i in (0, 1)]
    got = [np.where(own[i] == 1, pads[1 - i][1], pads[1 - i][0]) for i in (0, 1)]
    offers = [native.mux_offer(bit[i], x[i], pads[i], choice[i], m) for i in (0, 1)]
    z = [native.mux_finish(offers[i], offers[1 - i], x[i], pads[i], choice[i], got[i]) for i in (0, 1)]
    np.testing.assert_array_equal(
        (z[0] + z[1]) & low(m), ((x[0] + x[1]) * bits_of(bit[0] ^ bit[1], n)) & low(m)
    )
    assert (z[0] <= low(m)).all() and (z[1] <= low(m)).all()
    np.testing.assert_array_equal(offers[0][0], bit[0] ^ choice[0])
    signed = np.where(own[0] == 1, -x[0], x[0])
    np.testing.assert_array_equal(number(offers[0][1:], n), (pads[0][0] + signed - pads[0][1]) & low(m))


@common
@given(n=SIZES, w=st.integers(1, 32), seed=SEEDS)
def test_product(n: int, w: int, seed: int) -> None:
    rng, W = np.random.default_rng(seed), words(n)
    u, pads, bit, choice = u32(rng, n), u32(rng, 2, n) & low(w), u64(rng, W), u64(rng, W)
    got = np.where(bits_of(choice, n) == 1, pads[1], pads[0])
    planes, t = native.product_offer(u, pads, w), bit ^ choice
    np.testing.assert_array_equal(number(planes, n), (pads[0] + u - pads[1]) & low(w))
    sent, received = native.product_sender(t, u, pads, w), native.product_receiver(t, planes, choice, got)
    np.testing.assert_array_equal((sent + received) & low(w), (u * bits_of(bit, n)) & low(w))


def test_wrong_shapes_are_refused() -> None:
    x, W = np.zeros(70, np.uint32), np.zeros(2, np.uint64)
    planes = np.zeros((17, 2), np.uint64)
    pads = np.zeros((2, 70), np.uint32)
    for call in (
        lambda: native.slice_bits(x, 0),
        lambda: native.slice_bits(x, 33),
        lambda: native.unslice_bits(planes, 129),
        lambda: native.truncate_bits(x, 0, 20, 16),
        lambda: native.leaf_messages(
            planes[:5], planes[:5], np.zeros((32, 1, 2), np.uint64), np.zeros((31, 1, 2), np.uint64)
        ),
        lambda: native.leaf_messages(
            planes[:4], planes[:4], np.zeros((8, 1, 2), np.uint64), np.zeros((7, 1, 2), np.uint64)
        ),
        lambda: native.leaf_select(planes[:4], planes[:3], np.zeros((15, 3, 2), np.uint64)),
        lambda: native.and_open(W[:1], planes[:1], W[:1], np.zeros((2, 1, 2), np.uint64), planes[:1]),
        lambda: native.mux_offer(W, x, pads[:, :69].copy(), W, 16),
        lambda: native.mux_finish(planes, planes[:16], x, pads, W, x),
        lambda: native.product_offer(x, pads[:1], 16),
        lambda: native.product_receiver(W, planes[:16], W[:1], x),
    ):
        with pytest.raises(ValueError):
            call()
    with pytest.raises(TypeError):
        native.slice_bits(x.astype(np.int64), 3)
