"""The online integer layers equal the convolution mod 2^32, with every instruction set that this machine
has.
"""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from blindsight import _native
from blindsight.nn.linear import online
from blindsight.nn.ops import Conv2d, Linear


def direct(w: np.ndarray, x: np.ndarray, stride: tuple, padding: tuple, groups: int) -> np.ndarray:
    """Tap by tap in wrapping uint64."""
    top, left, bottom, right = padding
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right))).astype(np.uint64)
    o, _, kh, kw = w.shape
    h, wd = (padded.shape[2] - kh) // stride[0] + 1, (padded.shape[3] - kw) // stride[1] + 1
    out = np.zeros((len(x), groups, o // groups, h, wd), np.uint64)
    wg = w.astype(np.uint64).reshape(groups, o // groups, *w.shape[1:])
    for k, l in np.ndindex(kh, kw):
        seen = padded[:, :, k : k + (h - 1) * stride[0] + 1 : stride[0], l:]
        seen = seen[:, :, :, : (wd - 1) * stride[1] + 1 : stride[1]].reshape(len(x), groups, -1, h, wd)
        out += np.einsum("bgcij,goc->bgoij", seen, wg[..., k, l])
    return out.astype(np.uint32).reshape(len(x), o, h, wd)


@pytest.fixture(params=_native.isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    _native.set_isa(request.param)
    yield request.param
    _native.set_isa("native")


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_any_shape(isa: str, data: st.DataObject) -> None:
    def size(lo: int, hi: int) -> int:
        return data.draw(st.integers(lo, hi))

    groups, kernel, stride = size(1, 4), (size(1, 5), size(1, 5)), (size(1, 3), size(1, 3))
    padding = (size(0, 6), size(0, 6), size(0, 6), size(0, 6))
    x_shape = (size(1, 3), groups * size(1, 20), size(1, 14), size(1, 20))
    assume(
        x_shape[2] + padding[0] + padding[2] >= kernel[0]
        and x_shape[3] + padding[1] + padding[3] >= kernel[1]
    )
    w_shape = (groups * size(1, 20), x_shape[1] // groups, *kernel)
    rng = np.random.default_rng(size(0, 2**32))
    x, w = rng.integers(0, 2**32, x_shape, np.uint32), rng.integers(-(2**15), 2**15, w_shape, np.int16)
    kind = size(0, 3)
    if kind == 1:  # the halves at their extremes
        x[:] = rng.choice(np.array([0x80008000, 0x7FFF8000, 0xFFFFFFFF, 0x8000, 0x7FFF], np.uint32), x_shape)
    if kind == 2:
        w[:], x[:] = -(2**15), 0x80008000
    got = _native.conv_mod32(w, x, stride, padding, groups, size(1, 4))
    np.testing.assert_array_equal(got, direct(w, x, stride, padding, groups))


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_layers_large_enough_for_threads(isa: str, threads: int) -> None:
    rng = np.random.default_rng(threads)
    for c, h, o, kernel, pad in (
        (32, 28, 48, 3, 1),
        (256, 4, 300, 3, 1),
        (512, 2, 130, 3, 1),
        (5000, 1, 501, 1, 0),
    ):
        x = rng.integers(0, 2**32, (1, c, h, h), np.uint32)
        w = rng.integers(-(2**15), 2**15, (o, c, kernel, kernel), np.int16)
        got = _native.conv_mod32(w, x, (1, 1), (pad,) * 4, 1, threads)
        np.testing.assert_array_equal(got, direct(w, x, (1, 1), (pad,) * 4, 1))


def test_online_takes_operations_with_and_without_a_batch() -> None:
    rng = np.random.default_rng(0)
    conv = Conv2d(
        out="y", inputs=("x",), shape=(4, 6, 3), scale=0, weight="w", bias="b", weight_bits=9, weight_scale=0,
        in_channels=6, kernel=(3, 2), stride=(2, 3), padding=(1, 0, 2, 1), groups=2, bias_map=False,
    )  # fmt: skip
    w = rng.integers(-256, 256, conv.weight_shape, np.int16)
    d = rng.integers(0, 2**32, (2, 6, 10, 8), np.uint32)
    want = direct(w, d, conv.stride, conv.padding, 2)
    np.testing.assert_array_equal(online(conv, w, d), want)
    np.testing.assert_array_equal(online(conv, w, d[1]), want[1])
    dense = Linear(
        out="y", inputs=("x",), shape=(7,), scale=0, weight="w", bias="b", weight_bits=9, weight_scale=0,
        in_features=33,
    )  # fmt: skip
    m, v = rng.integers(-(2**15), 2**15, (7, 33), np.int16), rng.integers(0, 2**32, (4, 33), np.uint32)
    product = (v.astype(np.uint64) @ m.T.astype(np.uint64)).astype(np.uint32)
    np.testing.assert_array_equal(online(dense, m, v), product)
    np.testing.assert_array_equal(online(dense, m, v[2]), product[2])


@pytest.mark.parametrize(
    ("w", "x", "groups"),
    [((4, 3, 1, 1), (1, 4, 5, 5), 1), ((4, 2, 1, 1), (1, 4, 5, 5), 1), ((3, 2, 1, 1), (1, 4, 5, 5), 2), ((1, 1, 6, 1), (1, 1, 5, 5), 1)],
)  # fmt: skip
def test_shapes_that_do_not_fit_are_refused(w: tuple, x: tuple, groups: int) -> None:
    with pytest.raises(ValueError, match=r"fit|larger"):
        _native.conv_mod32(np.zeros(w, np.int16), np.zeros(x, np.uint32), (1, 1), (0,) * 4, groups, 1)
