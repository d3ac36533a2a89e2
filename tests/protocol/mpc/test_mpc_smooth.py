"""Tables of lines: exact against their definition, within their documented error, monotone where the function is; softmax."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpc_cases import Case, dealt, run_both, smooth_case, split, twin

import blindsight._native as native
from blindsight.mpc import ideal
from blindsight.mpc.lut import LookUp, Lut
from blindsight.mpc.session import Pending, drive
from blindsight.mpc.smooth import SHAPES, LeakyReLU, Smooth
from blindsight.mpc.softmax import Softmax
from blindsight.mpc.table import Table

# Scale of the argument, scale of the result, and the error documented for them (docs/decisions/nonlinear.md).
DOCUMENTED = {
    "tanh": (9, 12, 0.0012),
    "sigmoid": (9, 12, 0.0008),
    "hardsigmoid": (9, 12, 0.0004),
    "silu": (9, 12, 0.0028),
    "gelu": (9, 12, 0.0012),
    "gelu_tanh": (9, 12, 0.0012),
    "hardswish": (9, 12, 0.0005),
    "softplus": (9, 12, 0.0015),
    "mish": (9, 12, 0.0034),
    "elu": (9, 12, 0.0014),
    "exp": (10, 12, 0.0012),
    "reciprocal": (9, 12, 0.0034),
}
REAL = {  # written anew, not taken from the package
    "tanh": math.tanh,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "hardsigmoid": lambda x: min(max(x + 3, 0), 6) / 6,
    "silu": lambda x: x / (1 + math.exp(-x)),
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "hardswish": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "softplus": lambda x: math.log1p(math.exp(-abs(x))) + max(x, 0),
    "mish": lambda x: x * math.tanh(math.log1p(math.exp(-abs(x))) + max(x, 0)),
    "elu": lambda x: x if x > 0 else math.exp(x) - 1,
    "exp": lambda x: math.exp(min(max(x, -15.9), 0)),
    "reciprocal": lambda x: 1 / min(max(x, 0.5), 8),
}
MONOTONE = ("tanh", "sigmoid", "hardsigmoid", "softplus", "elu", "exp", "reciprocal")
LIMITS = {"exp": (-15.9, 0.0)}  # fills 255 segments of 64 steps


def made(name: str, f: int = 0, m: int = 16) -> Smooth:
    scale_in, scale_out, _ = DOCUMENTED[name]
    return Smooth(name, f, m, scale_in, scale_out, LIMITS.get(name))


def everywhere(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Every 16-bit argument, and what a run makes of it."""
    real = made(name)
    x = np.arange(-(1 << 15), 1 << 15)
    case = Case(name, real, lambda a, b: a[0], lambda rng, n: ((), ()), real.draws)
    x0, x1 = split(np.random.default_rng(1), x)
    y = case.combine(*run_both(case, ((x0,), (x1,)), len(x), dealt(1))).view(np.int32)
    return x, y.astype(np.int64)


@pytest.mark.parametrize("name", SHAPES)
def test_error_over_the_whole_range_of_arguments(name: str) -> None:
    scale_in, scale_out, documented = DOCUMENTED[name]
    x, y = everywhere(name)
    expected = np.array([REAL[name](v) for v in x / 2.0**scale_in])
    error = np.abs(y / 2.0**scale_out - expected).max()
    assert error <= made(name).error <= documented
    assert np.abs(y - made(name).values(x)).max() <= made(name).units
    if name in MONOTONE:  # no result falls below an earlier one by more than both errors
        rising = y if name != "reciprocal" else -y
        assert (np.maximum.accumulate(rising) - rising).max() <= 2 * error * 2**scale_out


@pytest.mark.parametrize("name", MONOTONE)
def test_monotone_within_one_unit_at_the_scale_of_activations(name: str) -> None:
    """At 8 fractional bits a run is the monotone function within one unit."""
    scale_in = DOCUMENTED[name][0]
    real = Smooth(name, 0, 16, scale_in, max(8, scale_in if SHAPES[name].line else 0), LIMITS.get(name))
    x = np.arange(-(1 << 15), 1 << 15)
    values = real.values(x)
    assert (np.diff(values if name != "reciprocal" else -values) >= 0).all()
    x0, x1 = split(np.random.default_rng(2), x)
    case = Case(name, real, lambda a, b: a[0], lambda rng, n: ((), ()), real.draws)
    y = case.combine(*run_both(case, ((x0,), (x1,)), len(x), dealt(3))).view(np.int32)
    assert np.abs(y - values).max() <= (1 if real.scale_out == 8 else 2)


@settings(max_examples=25, deadline=None)
@given(l=st.integers(0, 9), n=st.sampled_from([1, 63, 64, 65, 200]), seed=st.integers(0, 2**32 - 1))
def test_look_up_is_the_lines_of_both_shares(l: int, n: int, seed: int) -> None:
    """Exact: base[h] + slope[h] r0, rounded, plus slope[h] r1, rounded, for h = h0 + h1 and the shares' own low parts."""
    rng = np.random.default_rng(seed)
    table = Table.fit(np.sin, -(127 << l), 127 << l, 6 + l, 10)
    assert table.l == l
    z = rng.integers(1 << l, table.high - table.low + (1 << l) + 1, n, dtype=np.uint32)
    z0 = rng.integers(0, 1 << table.bits, n, dtype=np.uint32)
    z1 = (z - z0) & np.uint32((1 << table.bits) - 1)

    class Alone:
        look_up = LookUp(table, 0)

        def run(self, session, share):
            def flow():
                drawn = self.look_up.draw(session, n)
                pending = yield from self.look_up.flow(session, drawn, Pending.ready(share))
                return (yield from pending.end())

            return drive(session, [flow()])[0]

    case = Case(
        "look-up", Alone(), lambda a, b: a[0], lambda r, k: ((), ()), Alone.look_up.draws, output_bits=table.w
    )
    got = case.combine(*run_both(case, ((z0,), (z1,)), n, dealt(seed)))
    h = ((z0 >> np.uint32(l)) + (z1 >> np.uint32(l))) & 255
    low = [(s & np.uint32((1 << l) - 1)).astype(np.int64) for s in (z0, z1)]
    half = 1 << (table.shift - 1)
    expected = (table.base[h] + table.slope[h] * low[0] + half >> table.shift) + (
        table.slope[h] * low[1] + half >> table.shift
    )
    np.testing.assert_array_equal(got, expected)
    x = z.astype(np.int64) - (1 << l) + table.low
    assert np.abs(expected - table.offset - 1024 * np.sin(x / 2.0 ** (6 + l))).max() <= 1024 / 64**2 / 4 + 2


@pytest.mark.parametrize("isa", native.isas())
def test_look_up_kernels(isa: str) -> None:
    """Every k, against the formula in numpy."""
    native.set_isa(isa)
    rng = np.random.default_rng(4)
    for k in range(1, 9):
        for n in (1, 64, 70):
            size, w, W = 1 << k, 13, (n + 63) // 64
            base, slope = (rng.integers(-(1 << 20), 1 << 20, size, dtype=np.int32) for _ in range(2))
            turn, asked = (rng.integers(0, size, n, dtype=np.uint32) for _ in range(2))
            low, pads = (
                rng.integers(0, 64, n, dtype=np.uint32),
                rng.integers(0, 1 << w, (size, n), dtype=np.uint32),
            )
            messages, own = native.lut_messages(base, slope, 9, turn, low, asked, pads, w)
            index = rng.integers(0, size, n, dtype=np.uint32)
            index[0] = 0
            taken = native.unslice_bits(native.lut_select(native.slice_bits(index, k), messages, w), n)
            at = (turn + index) % size
            value = (base[at] + slope[at] * low.astype(np.int32) + 256) >> 9
            pad = pads[index ^ asked, np.arange(n)]
            np.testing.assert_array_equal((own + taken - pad) & 8191, value & 8191)
            assert messages.shape == ((size - 1) * w, W)
    native.set_isa("native")


@pytest.mark.parametrize(("count", "scale"), [(2, 20), (10, 12), (37, 8), (1000, 16)])
def test_softmax(count: int, scale: int) -> None:
    rng = np.random.default_rng(count)
    x = rng.normal(0, 4, (8, count))
    x[0], x[1], x[2] = 0, np.linspace(-60, 60, count), 100 * (np.arange(count) == 1)
    fixed = np.rint(x * 2.0**scale).astype(np.int64)
    real = Softmax(count, scale)
    x0, x1 = split(rng, fixed)
    case = Case("softmax", real, twin(ideal.Softmax(count, scale)), lambda r, n: ((), ()), real.draws)
    p = case.combine(*run_both(case, ((x0,), (x1,)), 8, dealt(5))).view(np.int32) / 2.0**14
    e = np.exp(fixed / 2.0**scale - (fixed / 2.0**scale).max(axis=1, keepdims=True))
    exact = e / e.sum(axis=1, keepdims=True)
    assert np.abs(p - exact).max() < 2**-8
    assert np.abs(p - case.twin((x0,), (x1,)) / 2.0**14).max() < 2**-8
    assert (p > -(2**-10)).all()
    sure = exact.max(axis=1) - np.sort(exact, axis=1)[:, -2] > 2**-7
    np.testing.assert_array_equal(p.argmax(axis=1)[sure], exact.argmax(axis=1)[sure])


def test_what_cannot_be_tabled_is_refused() -> None:
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="finite"):
        Table.fit(np.log, -5, 5, 4, 8)
    with pytest.raises(ValueError, match="low < high"):
        Table.fit(np.exp, 3, 3, 4, 8)
    with pytest.raises(ValueError, match="smaller output scale"):
        Table.fit(np.exp, 0, 160, 4, 16)
    with pytest.raises(ValueError, match="no function"):
        Smooth("cosine", 8, 16, 9, 12)
    with pytest.raises(ValueError, match="output scale"):
        Smooth("silu", 8, 16, 9, 8)
    with pytest.raises(ValueError, match="f \\+ m"):
        Lut(16, 16, Table.fit(np.tanh, -500, 500, 8, 8))
    with pytest.raises(ValueError, match="scale"):
        Softmax(10, 30)


def test_leaky_relu_of_a_steep_slope() -> None:
    """Negative and large slopes are linear all the same."""
    for slope in (0.0, 0.01, 0.25, 1.0, -0.5):
        real, other = LeakyReLU(4, 12, slope), ideal.LeakyReLU(4, 12, slope)
        x = np.arange(-(1 << 15), (1 << 15) - 16, 7)
        x0, x1 = split(np.random.default_rng(8), x)
        case = Case("leaky", real, twin(other), lambda r, n: ((), ()), real.draws)
        y = case.combine(*run_both(case, ((x0,), (x1,)), len(x), dealt(9)))
        np.testing.assert_array_equal(y, case.twin((x0,), (x1,)))
        real_slope = round(slope * 256) / 256
        off = y.view(np.int32) / 2.0**12 - np.where(x >= 0, x, real_slope * x) / 2.0**8
        assert np.abs(off * 2**4).max() <= max(1, abs(slope)) * 16 / 16 + 1


def test_a_case_of_the_table_of_protocols_can_be_any_function() -> None:
    case = smooth_case("sigmoid", 10, 14, 6, 10)
    inputs = case.inputs(np.random.default_rng(3), 500)
    off = case.combine(*run_both(case, inputs, 500, dealt(3))) - case.twin(*inputs)
    assert np.abs(off.view(np.int32)).max() <= case.tolerance
