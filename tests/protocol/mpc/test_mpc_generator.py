"""The protocols on correlations of the real generator (base OT, OT extension) over the same channel."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from mpc_cases import BY_NAME, assert_same

from blindsight.channel import memory_pair
from blindsight.mpc.session import CHUNK, Session
from blindsight.ot.generate import Generator


@pytest.fixture(scope="module")
def pair():
    ends = memory_pair(timeout=60)
    with ThreadPoolExecutor(2) as pool:
        return ends, tuple(pool.map(Generator, ends))


@pytest.mark.parametrize(
    "name",
    ["relu16.12", "tanh", "maxpool4.relu", "argmax10", "pixels.mask", "pixels.xor", "trunc16.12.signed"],
)
def test_on_generated_correlations(pair, name: str) -> None:
    check(pair, name, 321)


def test_sources_may_use_the_channel_between_chunks(pair) -> None:
    """More chunks than are interleaved at once; every draw is made over the same channel."""
    check(pair, "trunc16.12.signed", 18 * CHUNK + 1)
    check(pair, "relu16.12", 2 * CHUNK + 1)


def check(pair, name: str, n: int) -> None:
    ends, generators = pair
    case = BY_NAME[name]
    inputs = case.inputs(np.random.default_rng(9), n)

    def one(party: int) -> np.ndarray:
        return case.real.run(Session(ends[party], generators[party]), *inputs[party])

    with ThreadPoolExecutor(2) as pool:
        y0, y1 = pool.map(one, (0, 1))
    assert_same(case, case.combine(y0, y1), case.twin(*inputs), n)
