"""What each party receives is uniform, whatever the inputs: and the same test catches a protocol whose masks are switched off.

Inputs and peer's inputs are constant over all instances, so that anything unmasked stands out. Every received message is cut into rows of
4,096 bits (one bit position over all instances); each row must be balanced and every two rows uncorrelated, with a family-wise error
below 1e-6. The same is asked of each party's share of the output, where shares are fresh.
"""

import math
from statistics import NormalDist

import numpy as np
import pytest
from mpc_cases import CASES, Args, Case, Unmasked, dealt, run_both, transcript

N = 4096
LEVEL = 1e-6
TOGETHER = 256


def suspicious(data: bytes) -> bool:
    """Whether the hypothesis "uniform" is rejected at `LEVEL`; pairs of rows are formed within `TOGETHER` neighbours."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    rows = bits[: len(bits) // N * N].reshape(-1, N)
    groups = [rows[start : start + TOGETHER] for start in range(0, len(rows), TOGETHER)]
    limit = NormalDist().inv_cdf(1 - LEVEL / (len(groups) * TOGETHER**2))
    return any(largest_z(group) > limit for group in groups)


def largest_z(rows: np.ndarray) -> float:
    """The largest deviation of a row's balance or of two rows' correlation, in standard deviations."""
    signs = np.vstack([np.ones((1, N), np.float32), rows.astype(np.float32) * 2 - 1])
    z = np.abs(signs @ signs.T) / math.sqrt(N)
    np.fill_diagonal(z, 0)
    return float(z.max())


def constant(case: Case) -> tuple[Args, Args]:
    """One instance's inputs repeated N times (whole bytes of a bit vector too)."""

    def spread(v: object) -> object:
        if not isinstance(v, np.ndarray):
            return N if case.name.startswith(("and", "b2a", "maxpool")) else v
        if v.dtype == np.uint64:  # bit vectors
            bit = np.where(v[..., :1] & np.uint64(1), np.uint64(2**64 - 1), np.uint64(0))
            return np.ascontiguousarray(np.broadcast_to(bit, (*v.shape[:-1], N // 64)))
        if case.name.startswith("maxpool"):
            return np.full_like(v, v[0])
        return np.ascontiguousarray(np.broadcast_to(v[:1], (N, *v.shape[1:])))

    made = case.inputs(np.random.default_rng(11), 1)
    return tuple(tuple(spread(v) for v in side) for side in made)  # type: ignore[return-value]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_every_message_is_uniform_to_its_reader(case: Case) -> None:
    for party, end in enumerate(transcript(case, constant(case), N, dealt(5))):
        for i, message in enumerate(end.received):
            assert not suspicious(message), f"message {i} that party {party} receives is not uniform"


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_the_same_test_fails_without_masks(case: Case) -> None:
    for end in transcript(case, constant(case), N, (Unmasked(0), Unmasked(1))):
        assert all(suspicious(message) for message in end.received)


@pytest.mark.parametrize("case", [c for c in CASES if c.fresh], ids=lambda c: c.name)
def test_each_share_of_the_output_is_uniform(case: Case) -> None:
    for y in run_both(case, constant(case), N, dealt(6)):
        planes = (
            y.reshape(-1, N // 64) if y.dtype == np.uint64 else slices(y.reshape(N, -1), case.output_bits)
        )
        assert not suspicious(planes.tobytes())


def slices(y: np.ndarray, bits: int) -> np.ndarray:
    """uint32 [N, k] as bit rows."""
    return np.packbits([(column >> j) & 1 for column in y.T for j in range(bits)], axis=1, bitorder="little")


def test_the_test_itself() -> None:
    rng = np.random.default_rng(1)
    assert not suspicious(rng.bytes(N // 8 * 60))
    assert suspicious(bytes(N // 8 * 2))
    row = rng.bytes(N // 8)
    assert suspicious(row + rng.bytes(N // 8) + row)  # a pad used twice
