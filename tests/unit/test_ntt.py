"""The transforms, the lazy sums of products and the samplers, on every instruction set this machine has."""

import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import blindsight._native as native

VECTORS = sorted((Path(__file__).parents[1] / "vectors").glob("ntt_*.json"))
RINGS = [(1024, 67104769), (2048, 1125844072267777), (4096, 1125899906826241), (4096, 1125852930654209)]
SMALL = (64, 1125844072267777)


@pytest.fixture(params=native.isas(), scope="module")
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = native.isa()
    native.set_isa(request.param)
    yield request.param
    native.set_isa(before)


def forward(n: int, q: int, x: np.ndarray) -> np.ndarray:
    out = np.empty(x.shape, np.uint64)
    (native.ntt_forward if x.dtype == np.uint64 else native.ntt_forward_signed)(n, q, x, out)
    return out


def inverse(n: int, q: int, x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    native.ntt_inverse(n, q, x, out)
    return out


def keystream(seed: bytes, purpose: int, index: int, count: int) -> bytes:
    nonce = struct.pack("<IIII", 0, purpose, index, 0)
    return Cipher(algorithms.ChaCha20(seed, nonce), mode=None).encryptor().update(bytes(count))


def test_there_are_vectors() -> None:
    assert len(VECTORS) == len(RINGS)


@pytest.mark.parametrize("path", VECTORS, ids=lambda p: p.stem)
def test_known_answers(isa: str, path: Path) -> None:
    v = json.loads(path.read_text())
    n, q = v["n"], v["q"]
    assert native.ntt_root(n, q) == v["psi"]
    x = np.empty(n, np.uint64)
    native.sample_uniform(bytes.fromhex(v["seed"]), v["purpose"], 0, 0, q, x)
    y = forward(n, q, x)
    assert y[:: v["every"]].tolist() == v["outputs"]
    assert hashlib.sha256(y.astype("<u8").tobytes()).hexdigest() == v["sha256"]
    assert np.array_equal(inverse(n, q, y), x)


def patterns(n: int, q: int) -> list[np.ndarray]:
    """Inputs that push lazy ranges to their ends."""
    rng = np.random.default_rng(7)
    alternating = np.where(np.arange(n) % 2 == 0, q - 1, 0)
    top = q - 1 - rng.integers(0, 3, n)
    middle = (q - 1) // 2 + rng.integers(0, 2, n)
    edges = rng.choice([0, 1, (q - 1) // 2, (q + 1) // 2, q - 2, q - 1], n)
    return [x.astype(np.uint64) for x in (np.full(n, q - 1), np.zeros(n), alternating, top, middle, edges)]


@pytest.mark.parametrize(("n", "q"), [*RINGS, SMALL, (128, SMALL[1]), (256, RINGS[0][1]), (512, RINGS[0][1])])
def test_inverse_undoes_forward_at_the_edges(isa: str, n: int, q: int) -> None:
    for x in patterns(n, q):
        y = forward(n, q, x)
        assert y.max() < q
        assert np.array_equal(inverse(n, q, y), x)
        z = inverse(n, q, x)
        assert z.max() < q
        assert np.array_equal(forward(n, q, z), x)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_products_are_negacyclic(isa: str, data: st.DataObject) -> None:
    n, q = SMALL
    coefficient = st.one_of(st.integers(0, q - 1), st.sampled_from([0, 1, q - 1, q // 2, q // 2 + 1]))
    a, b = (np.array(data.draw(st.lists(coefficient, min_size=n, max_size=n)), np.uint64) for _ in range(2))
    product = np.empty(n, np.uint64)
    native.ntt_sum_products(n, q, forward(n, q, a)[None], forward(n, q, b)[None], product)
    want = [0] * n
    for i, x in enumerate(a.tolist()):
        for j, y in enumerate(b.tolist()):
            want[(i + j) % n] += x * y if i + j < n else -x * y
    assert inverse(n, q, product).tolist() == [x % q for x in want]


@pytest.mark.parametrize(("n", "q"), RINGS)
def test_signed_input_is_the_residue(isa: str, n: int, q: int) -> None:
    limit = min(q, 1 << 31) - 1
    x = np.random.default_rng(1).integers(-limit, limit, n, dtype=np.int64, endpoint=True)
    x[:4] = [limit, -limit, 0, -1]
    assert np.array_equal(forward(n, q, x.astype(np.int32)), forward(n, q, (x % q).astype(np.uint64)))


@pytest.mark.parametrize("terms", [1, 2, 9, 4096])
@pytest.mark.parametrize("q", [SMALL[1], RINGS[0][1], RINGS[2][1]])
def test_sums_of_products_do_not_overflow(isa: str, q: int, terms: int) -> None:
    n = 64
    a, b = (np.random.default_rng(s).integers(0, q, (terms, n), dtype=np.uint64) for s in (1, 2))
    a[:, :32], b[:, :32] = q - 1, q - 1  # the largest sum there is
    out = np.empty(n, np.uint64)
    native.ntt_sum_products(n, q, a, b, out)
    want = [
        sum(x * y for x, y in zip(u, v, strict=True)) % q
        for u, v in zip(a.T.tolist(), b.T.tolist(), strict=True)
    ]
    assert out.tolist() == want


@pytest.mark.parametrize(("n", "q"), RINGS)
def test_pairs_are_summed_like_single_polynomials(isa: str, n: int, q: int) -> None:
    """The two polynomials of a ciphertext at once, from rows with unused words between them."""
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, q, (5, n + 8), dtype=np.uint64), rng.integers(0, q, (5, 2, n + 8), dtype=np.uint64)
    both, single = np.empty((2, n), np.uint64), np.empty(n, np.uint64)
    native.ntt_sum_products(n, q, a, b, both)
    for p in range(2):
        rows = [np.ascontiguousarray(x[:, :n]) for x in (a, b[:, p])]
        native.ntt_sum_products(n, q, *rows, single)
        assert np.array_equal(both[p], single)
    native.ntt_sum_products(n, q, a[:1], b[:1], both)
    assert both[1, 7] == int(a[0, 7]) * int(b[0, 1, 7]) % q


def test_too_many_terms_and_odd_shapes_are_refused() -> None:
    n, q = SMALL
    rows = np.zeros((4097, n), np.uint64)
    with pytest.raises(ValueError, match="4096"):
        native.ntt_sum_products(n, q, rows, rows, np.empty(n, np.uint64))
    with pytest.raises(ValueError, match="rows of N"):
        native.ntt_forward(n, q, np.zeros(n + 1, np.uint64), np.empty(n + 1, np.uint64))


@pytest.mark.parametrize(
    ("n", "q", "message"),
    [
        (1000, 67104769, "degree"),
        (8192, 67104769, "degree"),
        (2048, 67104769 + 2, "modulus"),
        (2048, (1 << 50) + 1, "modulus"),
    ],
)
def test_rings_that_do_not_exist_are_refused(n: int, q: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        native.ntt_root(n, q)


@pytest.mark.parametrize("count", [1, 64, 511, 512, 513, 5000])
def test_keystream_is_chacha20(isa: str, count: int) -> None:
    seed = bytes(range(100, 132))
    out = np.empty(count, np.uint8)
    native.keystream(seed, 5, 0xFFFFFFFF, 0, out)
    assert out.tobytes() == keystream(seed, 5, 0xFFFFFFFF, count)


def test_samplers_follow_their_definitions(isa: str) -> None:
    seed = bytes(range(32))
    ternary, error, uniform = np.empty(2048, np.int32), np.empty(2048, np.int32), np.empty(2048, np.uint64)
    native.sample_ternary(seed, 1, 2, ternary)
    want = []
    for f in struct.unpack("<256Q", keystream(seed, 1, 2, 2048)):
        for _ in range(8):
            want.append((3 * f >> 64) - 1)
            f = 3 * f % 2**64
    assert ternary.tolist() == want
    native.sample_error(seed, 3, 4, error)
    bits = np.unpackbits(np.frombuffer(keystream(seed, 3, 4, 2048 * 42 // 8), np.uint8), bitorder="little")
    assert np.array_equal(error, bits.reshape(2048, 42).sum(axis=1, dtype=np.int64) - 21)
    q = 67104769  # one word in 16,000 is refused
    native.sample_uniform(seed, 6, 7, 0, q, uniform)
    words = np.frombuffer(keystream(seed, 6, 7, 8 * 2100), "<u8") & np.uint64((1 << 26) - 1)
    assert np.array_equal(uniform, words[words < q][:2048])


def test_samplers_have_the_right_moments() -> None:
    n = 1 << 18
    ternary, error = np.empty(n, np.int32), np.empty(n, np.int32)
    native.sample_ternary(b"t" * 32, 1, 0, ternary)
    native.sample_error(b"e" * 32, 1, 0, error)
    assert abs(np.bincount(ternary + 1, minlength=3) / n - 1 / 3).max() < 5 / n**0.5
    assert abs(error.mean()) < 5 * (10.5 / n) ** 0.5
    assert abs(error.var() - 10.5) < 5 * 10.5 * (2 / n) ** 0.5
    assert np.abs(error).max() <= 21


@given(st.integers(1, 64), st.integers(0, 40), st.randoms(use_true_random=False))
def test_bits_are_packed_little_endian(width: int, count: int, random) -> None:  # type: ignore[no-untyped-def]
    values = [random.choice([0, (1 << width) - 1, random.randrange(1 << width)]) for _ in range(count)]
    packed = np.empty(-(-count * width // 8), np.uint8)
    native.pack_bits(np.array(values, np.uint64), width, packed)
    stream = sum(v << i * width for i, v in enumerate(values))
    assert packed.tobytes() == stream.to_bytes(len(packed), "little")
    back = np.empty(count, np.uint64)
    native.unpack_bits(packed, width, back)
    assert back.tolist() == values
