"""The errors that docs/numerics.md promises for tables, against float64 over the whole input range."""

import math
import re
import threading
from pathlib import Path

import numpy as np
import pytest

from blindsight.channel import memory_pair
from blindsight.mpc.session import Session
from blindsight.mpc.smooth import SHAPES, Smooth
from blindsight.nn.ops import FUNCTIONS
from blindsight.ot.generate import Generator

NUMERICS = Path(__file__).parents[2] / "docs" / "numerics.md"
SCALES = (6, 8, 10, 12)
M = 18


def softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0)


REAL = {  # written anew, not taken from the package
    "tanh": math.tanh,
    "sigmoid": lambda x: (1 + math.tanh(x / 2)) / 2,
    "hardsigmoid": lambda x: min(max(x + 3, 0), 6) / 6,
    "silu": lambda x: x * (1 + math.tanh(x / 2)) / 2,
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "hardswish": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "softplus": softplus,
    "mish": lambda x: x * math.tanh(softplus(x)),
    "elu": lambda x: x if x > 0 else math.expm1(x),
}


def documented() -> dict[str, list[float]]:
    section = NUMERICS.read_text().split("## Tables")[1]
    rows = re.findall(r"^\| (\w+) \| ([0-9. |]+) \|$", section, re.M)
    return {name: [float(v) for v in cells.split("|")] for name, cells in rows}


def made(name: str, scale: int) -> Smooth:
    """As the compiler makes it (`models.lower`)."""
    return Smooth(name, 0, M, scale, min(12, scale + 2) if SHAPES[name].line else 12)


def test_every_compiled_function_is_documented_and_within_its_bound() -> None:
    promised = documented()
    assert set(promised) == set(FUNCTIONS) == set(REAL)
    for name, errors in promised.items():
        for scale, most in zip(SCALES, errors, strict=True):
            assert made(name, scale).error <= most, (name, scale)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_secure_runs_stay_within_it_over_the_whole_range(name: str) -> None:
    function, half = made(name, 12), 1 << (M - 1)
    near = np.arange(function.table.low - 3, function.table.high + 3, 7)
    x = np.unique(np.concatenate([np.arange(-half, half - 1, 61), near, [half - 2, -half, 0, 1, -1]]))
    rng = np.random.default_rng(8)
    helper = rng.integers(0, 1 << 32, len(x), np.uint32)
    shares, ends, out = (x.astype(np.uint32) - helper, helper), memory_pair(timeout=60), [None, None]

    def party(p: int) -> None:
        source = Generator(ends[p])
        tape = iter(zip(function.draws(len(x)), source.fill(function.draws(len(x))), strict=True))

        class Drawn:
            def draw(self, d):
                have, arrays = next(tape)
                assert have == d
                return arrays

        out[p] = function.run(Session(ends[p], Drawn()), shares[p])

    other = threading.Thread(target=party, args=(1,))
    other.start()
    party(0)
    other.join()
    got = (out[0] + out[1]).view(np.int32) / 2.0**function.scale_out
    want = np.array([REAL[name](v) for v in x / 2.0**12])
    assert np.abs(got - want).max() <= documented()[name][-1]
