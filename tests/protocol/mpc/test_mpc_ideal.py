"""Every protocol equals its ideal twin: edge values, odd sizes, one element, none, and once with a million."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpc_cases import CASES, Case, assert_same, dealt, relu_case, run_both, transcript, trunc_case

from blindsight.mpc import ideal
from blindsight.mpc.maxpool import MaxPool
from blindsight.mpc.relu import ReLU
from blindsight.mpc.session import CHUNK
from blindsight.mpc.trunc import Truncate

SIZES = st.sampled_from([1, 2, 3, 63, 64, 65, 127, 130, 300])
SEEDS = st.integers(0, 2**32 - 1)


def check(case: Case, n: int, seed: int) -> None:
    inputs = case.inputs(np.random.default_rng(seed), n)
    y0, y1 = run_both(case, inputs, n, dealt(seed))
    assert_same(case, case.combine(y0, y1), case.twin(*inputs), n)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
@settings(max_examples=12, deadline=None)
@given(n=SIZES, seed=SEEDS)
def test_equals_its_ideal_twin(case: Case, n: int, seed: int) -> None:
    check(case, n, seed)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_equals_its_ideal_twin_on_a_million(case: Case) -> None:
    check(case, case.most, 7)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n=SIZES, seed=SEEDS)
def test_relu_and_truncation_of_every_width(data: st.DataObject, n: int, seed: int) -> None:
    m = data.draw(st.integers(2, 31), label="m")
    f = data.draw(st.integers(0, 31 - m), label="f")
    check(relu_case(f, m), n, seed)
    if m > 2:
        check(trunc_case(f, m, data.draw(st.booleans(), label="signed")), n, seed)


@settings(max_examples=50, deadline=None)
@given(seed=SEEDS, f=st.integers(0, 20))
def test_truncation_is_floor_or_floor_plus_one_and_keeps_the_sign(seed: int, f: int) -> None:
    rng = np.random.default_rng(seed)
    m = 31 - f
    x = rng.integers(-(1 << 30), (1 << 30) - (1 << f), 200)
    x[:3] = 0, 1, -1
    x0 = rng.integers(0, 1 << 32, 200, dtype=np.uint32)
    z = Truncate(f, m).run(0, x0) + Truncate(f, m).run(1, x.astype(np.uint32) - x0)
    low = z.astype(np.int64) & ((1 << m) - 1)
    value = np.where(low >> (m - 1) == 1, low - (1 << m), low)
    assert set(np.unique(value - (x >> f))) <= {0, 1}
    assert (value[x >= 0] >= 0).all()
    np.testing.assert_array_equal(
        sum(ideal.Truncate(f, m).run(x0, x.astype(np.uint32) - x0)), z & np.uint32((1 << m) - 1)
    )


def test_truncation_is_unbiased() -> None:
    rng = np.random.default_rng(3)
    x = rng.integers(-(1 << 26), 1 << 26, 10**6)
    x0 = rng.integers(0, 1 << 32, 10**6, dtype=np.uint32)
    z = sum(ideal.TruncateExtend(12, 16).run(x0, x.astype(np.uint32) - x0)).view(np.int32)
    error = z - x / 4096  # uniform rounding: P(floor + 1) = fraction + 2^-12
    assert abs(error.mean() - 2**-12) < 5 * error.std() / 1000


def test_chunks_do_not_change_anything() -> None:
    """Sizes around the chunk length, through the interleaved path."""
    for n in (CHUNK - 1, CHUNK + 1, 2 * CHUNK + 63):
        check(relu_case(12, 16), n, n)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_nothing_in_nothing_out(case: Case) -> None:
    rng = np.random.default_rng(0)
    inputs = case.inputs(rng, 0)
    assert case.draws(0) == []
    y0, y1 = run_both(case, inputs, 0, dealt(0))
    assert y0.size == y1.size == 0


def test_cost_of_relu_at_16_bits() -> None:
    """The figures that docs and DESIGN state."""
    relu, n = ReLU(12, 16), 1 << 16
    assert sum(d.random_ots() for d in relu.draws(n)) == 24 * n
    case = relu_case(12, 16)
    ends = transcript(case, case.inputs(np.random.default_rng(1), n), n, dealt(1))
    total = sum(len(m) for end in ends for m in end.sent)
    assert total * 8 == 169 * n  # 21.1 bytes an element
    assert [len(end.sent) for end in ends] == [3, 3]  # six flights


def test_padding_never_wins() -> None:
    """A window of padding and the lowest value there is."""
    f, m = 4, 10
    lowest = np.full(3, -(1 << (m - 1 + f)))
    x0 = np.array([0, 5, 2**31], np.uint32)
    windows = np.array([[-1, 0], [1, -1], [2, 2]])
    inputs = ((x0,), (lowest.astype(np.uint32) - x0,))
    pool = MaxPool(f, m, False, windows)
    case = Case(
        "pool",
        pool,
        lambda a, b: sum(ideal.MaxPool(f, m, False, windows).run(*a, *b)),
        lambda *_: inputs,
        pool.draws,
    )
    y = case.combine(*run_both(case, inputs, 3, dealt(4))).view(np.int32)
    np.testing.assert_array_equal(y, case.twin(*inputs).view(np.int32))
    assert set(y) <= {-(1 << (m - 1)), 1 - (1 << (m - 1))}
