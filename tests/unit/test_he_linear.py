"""Encrypted linear layers: shares add up to W * r within the planner's bound, on every path."""

import hashlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import blindsight._native as native
from blindsight.he.error import answer_error, pair_error
from blindsight.he.linear import Evaluator, Scattered, Weights
from blindsight.he.ring import answer_bytes, encryption_bytes, polynomial_bytes
from blindsight.he.secret.linear import LayerKey
from blindsight.params import CONCEALED, INGEST, LINEAR, LOGITS, RingParams

SEED = b"the cloud chose this seed of a_p"
RINGS = [LINEAR, CONCEALED, LOGITS]


class Counted:
    """Reproducible bytes for tests; every call gives others."""

    def __init__(self, name: str):
        self.name, self.calls = name, 0

    def bytes(self, n: int) -> bytes:
        self.calls += 1
        return hashlib.shake_256(f"{self.name} {self.calls}".encode()).digest(n)


def weights_error(params: RingParams, weights: np.ndarray) -> float:
    """The bound of the worst of several answers; `weights`: integers [A, ...], all that goes into answer a."""
    flat = np.asarray(weights, np.float64).reshape(len(weights), -1)
    return max(
        (answer_error(params, float(np.abs(w).sum()), float(np.sqrt((w * w).sum()))) for w in flat),
        default=1.0,
    )


@pytest.fixture(params=native.isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = native.isa()
    native.set_isa(request.param)
    yield request.param
    native.set_isa(before)


def product(w: np.ndarray, r: np.ndarray) -> np.ndarray:
    """w * r mod (X^N + 1, 2^64), schoolbook over the non-zero taps of w."""
    n, out = len(r), np.zeros(len(r), np.int64)
    twice = np.concatenate([-r.astype(np.int64), r.astype(np.int64)])
    for p in np.flatnonzero(w):
        out += np.int64(w[p]) * twice[n - p : 2 * n - p]
    return out


def words(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Reproducible uint32, the same with every version of numpy."""
    return np.frombuffer(bytearray(Counted(name).bytes(4 * int(np.prod(shape)))), "<u4").reshape(shape)


def masks(params: RingParams, count: int, seed: int = 0) -> np.ndarray:
    r = words(f"masks {seed}", (count, params.n)).view(np.int32)
    r[0, :2] = -(1 << 31), (1 << 31) - 1
    return r


def sparse(
    params: RingParams, answers: int, uses: int, taps: int, limit: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, values and the dense polynomials they stand for."""
    positions = words("positions", (uses, params.n)).argsort(axis=1, kind="stable")[:, :taps].astype(np.int32)
    values = (words("values", (answers, uses, taps)) % np.uint32(2 * limit + 1)).astype(np.int64) - limit
    values = values.astype(np.int32)
    dense = np.zeros((answers, uses, params.n), np.int32)
    for u in range(uses):
        dense[:, u, positions[u]] = values[:, u]
    return positions, values, dense


def pair(params: RingParams, threads: int = 1) -> tuple[LayerKey, Evaluator]:
    key = LayerKey(params, SEED, Counted("owner"), threads=threads)
    return key, Evaluator(params, SEED, key.public, Counted("evaluator"), threads=threads)


def miss(y: np.ndarray, share: np.ndarray, want: np.ndarray) -> int:
    error = (y.ravel() + share.ravel() - want.ravel().astype(np.uint32)).astype(np.int32)
    return int(np.abs(error.astype(np.int64)).max(initial=0))


@pytest.mark.parametrize("params", RINGS, ids=lambda p: p.name)
def test_shares_add_up_and_every_path_gives_the_same_bytes(isa: str, params: RingParams) -> None:
    limit = (1 << 31) - 1 if params is CONCEALED else 1 << 11
    answers, uses = 3, np.array([[0, 1, 2], [4, 1, 0]], np.int32)
    positions, values, dense = sparse(params, answers, 3, 20, limit)
    r = masks(params, 5)
    listed = [np.array([0, 7, params.n - 1], np.int32), np.arange(params.n, dtype=np.int32)]
    want = np.concatenate(
        [
            sum(product(dense[a, u], r[g[u]]) for u in range(3))[listed[i]]
            for i, g in enumerate(uses)
            for a in range(answers)
        ]
    )
    digests = set()
    for threads, form in [
        (1, "dense"),
        (1, "scattered"),
        (1, "prepared"),
        (2, "dense"),
        (5, "prepared scattered"),
    ]:
        key, ev = pair(params, threads)
        ct = ev.load(key.encrypt(r))
        scattered = Scattered(positions, values)
        forms: dict[str, Weights] = {"dense": dense, "scattered": scattered}
        weights = (
            ev.prepare(forms[form.split()[-1]] if " " in form else dense)
            if "prepared" in form
            else forms[form]
        )
        sent, shares = ev.answer_sets(ct, uses, weights, listed)
        assert len(sent) == answers * sum(answer_bytes(params, len(x)) for x in listed)
        assert [s.shape for s in shares] == [(answers, len(x)) for x in listed]
        y = key.open(sent, [x for x in listed for _ in range(answers)])
        assert miss(y, np.concatenate([s.ravel() for s in shares]), want) <= weights_error(params, dense)
        digests.add(hashlib.sha256(sent + y.tobytes()).hexdigest())
    assert len(digests) == 1
    assert digests.pop() == BASELINE[params.name]


BASELINE = {
    "linear": "654efdef44f9f52a4adc21ef9e57164c003d3a12964fb51e43c73c12ee6c110c",
    "concealed": "90c868f51aa6c78d6af22dfd70a9c64633aa68dc8953719d839e64f31099b8ee",
    "logits": "2c02ef207ae069d3768a68957aa4270281e8285d6c468693fac455617adfcad8",
}
"""SHA-256 of answers and shares under the test's randomness: the same on every instruction set and in every release."""


@pytest.mark.parametrize(("answers", "sets", "uses"), [(5, 17, 9), (1, 3, 70), (6, 2, 0)])
def test_many_sets_whatever_the_threads(isa: str, answers: int, sets: int, uses: int) -> None:
    """Partial blocks of answers, of sets and of terms; answers or sets divided among threads: the same bytes."""
    positions, values, dense = sparse(LINEAR, answers, uses, 4, 1000)
    r = masks(LINEAR, 6)
    which = (words("which", (sets, uses)) % np.uint32(6)).astype(np.int32)
    listed = [np.array([g, 100 + 2 * g, 2047], np.int32)[: 1 + g % 3] for g in range(sets)]
    seen = set()
    for threads in (1, 2, 4):
        key, ev = pair(LINEAR, threads)
        sent, shares = ev.answer_sets(ev.load(key.encrypt(r)), which, Scattered(positions, values), listed)
        seen.add(sent)
    y = key.open(sent, [x for x in listed for _ in range(answers)])
    none = np.zeros(LINEAR.n, np.int64)
    want = [
        sum((product(dense[a, u], r[i]) for u, i in enumerate(which[g])), none)[listed[g]]
        for g in range(sets)
        for a in range(answers)
    ]
    assert miss(y, np.concatenate([s.ravel() for s in shares]), np.concatenate(want)) <= weights_error(
        LINEAR, dense
    )
    assert len(seen) == 1


def test_one_set(isa: str) -> None:
    key, ev = pair(LINEAR)
    _, _, dense = sparse(LINEAR, 2, 2, 9, 500)
    r = masks(LINEAR, 4)
    listed = np.array([[5, 6, 2047], [0, 1, 2]])
    sent, shares = ev.answer(ev.load(key.encrypt(r)), np.array([3, 1]), dense, listed)
    want = np.stack([(product(dense[a, 0], r[3]) + product(dense[a, 1], r[1]))[listed[a]] for a in range(2)])
    assert shares.shape == (2, 3)
    assert miss(key.open(sent, listed), shares, want) <= weights_error(LINEAR, dense)


@settings(max_examples=15, deadline=None)
@given(
    uses=st.integers(0, 20),
    listed=st.lists(st.integers(0, LINEAR.n - 1), max_size=9),
    taps=st.integers(0, 5),
    seed=st.integers(0, 1 << 30),
)
def test_any_shape(uses: int, listed: list[int], taps: int, seed: int) -> None:
    key, ev = pair(LINEAR)
    rng = np.random.default_rng(seed)
    r = masks(LINEAR, 3, seed)
    which = rng.integers(0, 3, uses).astype(np.int32)
    positions = rng.integers(-1, LINEAR.n, (uses, taps)).astype(np.int32)
    values = rng.integers(-(1 << 15), 1 << 15, (1, uses, taps)).astype(np.int32)
    dense = np.zeros((1, uses, LINEAR.n), np.int32)
    for u, p in np.ndindex(uses, taps):
        if positions[u, p] >= 0:
            dense[0, u, positions[u, p]] = values[0, u, p]
    places = np.array([listed], np.int32)
    sent, shares = ev.answer(ev.load(key.encrypt(r)), which, Scattered(positions, values), places)
    want = sum((product(dense[0, u], r[which[u]]) for u in range(uses)), np.zeros(LINEAR.n, np.int64))[
        places[0]
    ]
    assert miss(key.open(sent, places), shares, want) <= weights_error(LINEAR, dense)


def test_nothing_repeats() -> None:
    """Two encryptions of the same masks, two answers to the same question: other seeds, other bytes, other shares."""
    key, ev = pair(LINEAR)
    r = masks(LINEAR, 1)
    first, second = key.encrypt(r), key.encrypt(r)
    assert first[:32] != second[:32]
    ct = ev.load(first)
    assert not np.array_equal(ct, ev.load(second))
    weights, listed = np.ones((1, 1, LINEAR.n), np.int32), np.arange(LINEAR.n)[None]
    one, two = (ev.answer(ct, np.zeros(1, np.int32), weights, listed) for _ in range(2))
    assert one[0] != two[0]
    assert (one[1] == two[1]).mean() < 0.01
    within, _ = ev.answer(
        ct, np.zeros(1, np.int32), np.repeat(weights, 2, axis=0), np.repeat(listed, 2, axis=0)
    )
    assert within[: len(within) // 2] != within[len(within) // 2 :]


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_error_stays_below_the_bound_at_fan_in_4608(bits: int) -> None:
    """512 channels of 3 x 3: the largest fan-in of VGG-16, spread over 48 input polynomials."""
    uses, taps, answers = 48, 96, 2
    positions, values, dense = sparse(LINEAR, answers, uses, taps, (1 << (bits - 1)) - 1)
    r = masks(LINEAR, uses, bits)
    key, ev = pair(LINEAR)
    listed = np.tile(np.arange(LINEAR.n, dtype=np.int32), (answers, 1))
    sent, shares = ev.answer(ev.load(key.encrypt(r)), np.arange(uses), Scattered(positions, values), listed)
    want = np.stack([sum(product(dense[a, u], r[u]) for u in range(uses)) for a in range(answers)])
    worst, bound = miss(key.open(sent, listed), shares, want), weights_error(LINEAR, dense)
    assert worst <= bound
    assert worst >= bound / 20  # a bound, not a licence
    assert worst <= {10: 4, 12: 9, 16: 90}[bits]


def test_bound_of_the_design() -> None:
    """The formula of DESIGN section 4 at its own example: ring of 2,048, 18 bits of c0 and 12 of c1 dropped."""
    assert answer_error(LINEAR, 0, 0) == pytest.approx(
        1 + (2**11 + 2**17 + 9 * 2**12 * (2048 / 18) ** 0.5) / LINEAR.delta
    )
    grown = answer_error(LINEAR, 1000, 100) - answer_error(LINEAR, 0, 0)
    assert grown == pytest.approx((9 * 10.5**0.5 * 100 + 500) / LINEAR.delta)
    norm1, norm2 = 4096.0 * (1 << 31), 64.0 * (1 << 31)
    pair = 2 * (1 + (norm1 / 2 + 2.0**65) / CONCEALED.delta)
    sigma = (10.5 + 4.0**27 / 12) ** 0.5  # of e and of the 27 bits that b loses
    pair += 9 * (2 * ((sigma * norm2) ** 2 + 4.0**61 * 4096 / 18)) ** 0.5 / CONCEALED.delta
    assert pair_error(CONCEALED, norm1, norm2) == pytest.approx(pair, rel=1e-9) and pair < 4
    assert pair < 2 * answer_error(CONCEALED, norm1, norm2)


def test_wiped_key_serves_no_more() -> None:
    key, _ = pair(LINEAR)
    secret = key._live()
    key.wipe()
    key.wipe()
    assert not secret.any()
    with pytest.raises(RuntimeError, match="wiped"):
        key.encrypt(masks(LINEAR, 1))
    with pytest.raises(RuntimeError, match="wiped"):
        key.open(b"", [])


def test_bad_input_is_one_clear_error() -> None:
    key, ev = pair(LINEAR)
    enc = key.encrypt(masks(LINEAR, 2))
    assert len(enc) == encryption_bytes(LINEAR, 2)
    ct = ev.load(enc)
    for cut in (0, 31, len(enc) - 1, len(enc) - polynomial_bytes(LINEAR) + 1):
        with pytest.raises(ValueError, match="12800 a polynomial"):
            ev.load(enc[:cut])
    with pytest.raises(ValueError, match="outside its ring"):
        ev.load(enc[:32] + b"\xff" * polynomial_bytes(LINEAR))
    with pytest.raises(ValueError, match="public key of ring linear"):
        Evaluator(LINEAR, SEED, key.public[:-1])
    with pytest.raises(ValueError, match="32 bytes"):
        LayerKey(LINEAR, SEED[:-1])
    with pytest.raises(ValueError, match="t = 256"):
        LayerKey(INGEST, SEED)
    with pytest.raises(ValueError, match="int32"):
        key.encrypt(masks(LINEAR, 1).astype(np.int64))

    ones, first, listed = np.ones((1, 1, LINEAR.n), np.int32), np.zeros(1, np.int32), np.array([[0]])
    with pytest.raises(IndexError, match="does not exist"):
        ev.answer(ct, np.array([2]), ones, listed)
    with pytest.raises(IndexError, match="outside the polynomial"):
        ev.answer(ct, first, ones, np.array([[LINEAR.n]]))
    with pytest.raises(IndexError, match="position"):
        ev.answer(ct, first, Scattered(np.array([[LINEAR.n]]), np.array([[[1]]])), listed)
    with pytest.raises(ValueError, match="32 bits"):
        ev.answer(ct, first, np.full((1, 1, LINEAR.n), 1 << 31), listed)
    with pytest.raises(ValueError, match="32 bits"):
        ev.answer(ct, first, ones.astype(np.float64), listed)
    with pytest.raises(ValueError, match="one list for each answer"):
        ev.answer(ct, first, ones, np.array([[0], [1]]))
    with pytest.raises(ValueError, match="sets of inputs"):
        ev.answer_sets(ct, first[None], ones, [])
    sent, _ = ev.answer(ct, first, ones, listed)
    for wrong in (sent[:-1], sent + b"\0", b""):
        with pytest.raises(ValueError, match="1 answers"):
            key.open(wrong, listed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 8192}, "N = 8192"),
        ({"primes": (1125844072267779,)}, "no prime"),
        ({"primes": LOGITS.primes, "n": 2048}, "128-bit security"),
        ({"t": 1 << 33}, "1 mod t"),
        ({"c0_bits": 50}, "cannot keep"),
        ({"primes": LOGITS.primes[::-1], "n": 4096}, "the larger first"),
    ],
)
def test_unsound_rings_are_refused(change: dict[str, object], message: str) -> None:
    fields = {f: getattr(LINEAR, f) for f in ("name", "n", "primes", "t", "c0_bits", "c1_bits")}
    with pytest.raises(ValueError, match=message):
        RingParams(**(fields | change))
