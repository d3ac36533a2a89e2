"""Each party's view against the simulated one, which is: uniform messages of the same lengths, whatever the inputs.

A simulator that knows a party's input, correlations and output share can produce its view if the messages are uniform
given the correlations. So: inputs and peer's inputs are constant over all instances, and anything unmasked stands out.
Every received message is cut into rows of 4,096 bits (one bit position over all instances); each row must be balanced,
every two rows uncorrelated, and every row uncorrelated with every bit row of the party's own correlations: all that holds
of a simulated view. The family-wise error is below 1e-6. The same is asked of each party's share of the output, where
shares are fresh.

Power: a row that is off balance, or two that agree, by 20 % more or less often than by chance is found with a chance above
0.999 (the limit is about 7.5 standard deviations of 1/64). Negative controls: masks off, a pad used twice, and pads that
the receiver knows all of.
"""

import math
from statistics import NormalDist

import numpy as np
import pytest
from mpc_cases import CASES, Args, Case, Unmasked, dealt, logits, run_both, transcript

from blindsight.mpc.softmax import Softmax
from blindsight.ot.correlations import Correlations, Draw

SOFTMAX = Softmax(3, 12)
CASES = [
    *CASES,
    Case("softmax3", SOFTMAX, lambda a, b: a[0], logits(3), SOFTMAX.draws),  # its values: test_mpc_smooth
]
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


class Kept:
    """Keeps what a party draws: part of its view."""

    def __init__(self, source: Correlations) -> None:
        self.source, self.drawn = source, []  # type: ignore[var-annotated]

    def draw(self, d: Draw) -> tuple[np.ndarray, ...]:
        arrays = self.source.draw(d)
        self.drawn += [(d.w, array) for array in arrays]
        return arrays

    def rows(self, most: int = 1024) -> np.ndarray:
        """The bits drawn, bool [rows, N], at most so many rows."""
        parts, have = [], 0
        for width, array in self.drawn:
            if array.dtype == np.uint64:
                bits = np.unpackbits(array.reshape(-1).view(np.uint8), bitorder="little")
            else:
                flat = array.reshape(-1)
                bits = (
                    ((flat[None] >> np.arange(width, dtype=np.uint32)[:, None]) & 1)
                    .astype(np.uint8)
                    .reshape(-1)
                )
            parts.append(bits[: len(bits) // N * N].reshape(-1, N))
            have += len(parts[-1])
            if have >= most:
                break
        return np.concatenate(parts)[:most]


class KnownPads:
    """What a broken OT would give: the receiver's pad is every pad. Messages are uniform, but not to the receiver."""

    def __init__(self, source: Correlations, party: int) -> None:
        self.source, self.party = source, party

    def draw(self, d: Draw) -> tuple[np.ndarray, ...]:
        arrays = self.source.draw(Draw(d.kind, d.sender, d.k, d.w, d.n))
        if d.kind == "triples" or d.sender != self.party:
            return arrays
        return (np.ascontiguousarray(np.broadcast_to(arrays[0][:1], arrays[0].shape)),)


class FirstPad(KnownPads):
    """The receiver's end of `KnownPads`: it asks the dealer's sender for the first pad."""

    def __init__(self, source: Correlations, sender: Correlations, party: int) -> None:
        super().__init__(source, party)
        self.sender = sender

    def draw(self, d: Draw) -> tuple[np.ndarray, ...]:
        arrays, other = self.source.draw(d), self.sender.draw(d)
        if d.kind == "triples" or d.sender == self.party:
            return KnownPads(_Fixed(arrays), self.party).draw(d)
        return arrays[0], np.ascontiguousarray(other[0][0])


class _Fixed:
    def __init__(self, arrays: tuple[np.ndarray, ...]) -> None:
        self.arrays = arrays

    def draw(self, d: Draw) -> tuple[np.ndarray, ...]:
        return self.arrays


def agrees(messages: list[bytes], own: np.ndarray) -> bool:
    """Whether some row of the messages goes with some row of the party's own correlations, at `LEVEL`."""
    bits = [np.unpackbits(np.frombuffer(m, np.uint8), bitorder="little") for m in messages]
    rows = np.concatenate([b[: len(b) // N * N].reshape(-1, N) for b in bits])
    rows = rows[:: max(1, len(rows) // 512)]  # of long tables every so many
    limit = NormalDist().inv_cdf(1 - LEVEL / (2 * len(rows) * len(own)))
    known = own.astype(np.float32).T * 2 - 1
    return any(
        float(np.abs((part.astype(np.float32) * 2 - 1) @ known).max()) / math.sqrt(N) > limit
        for part in (rows[i : i + TOGETHER] for i in range(0, len(rows), TOGETHER))
    )


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_messages_are_independent_of_the_readers_own_correlations(case: Case) -> None:
    """With `test_every_message_is_uniform_to_its_reader`: real and simulated views look alike."""
    kept = tuple(Kept(source) for source in dealt(7))
    ends = transcript(case, constant(case), N, kept)  # type: ignore[arg-type]
    for party, (end, own) in enumerate(zip(ends, kept, strict=True)):
        if end.received:
            assert not agrees(end.received, own.rows()), f"party {party} can take a mask off"


@pytest.mark.parametrize("name", ["compare10", "relu16.12", "mux32", "argmax10", "tanh", "pixels.mask"])
def test_pads_that_the_receiver_knows_are_caught(name: str) -> None:
    case = next(c for c in CASES if c.name == name)
    sources = []
    for party in (0, 1):
        mine, theirs = dealt(8)[party], dealt(8)[1 - party]
        sources.append(Kept(FirstPad(mine, theirs, party)))
    ends = transcript(case, constant(case), N, (sources[0], sources[1]))
    assert any(
        agrees(end.received, own.rows()) or any(suspicious(m) for m in end.received)
        for end, own in zip(ends, sources, strict=True)
        if end.received
    )


def test_the_test_itself() -> None:
    rng = np.random.default_rng(1)
    assert not suspicious(rng.bytes(N // 8 * 60))
    assert suspicious(bytes(N // 8 * 2))
    row = rng.bytes(N // 8)
    assert suspicious(row + rng.bytes(N // 8) + row)  # a pad used twice


def test_its_power() -> None:
    """Two rows that agree in 60 % of 4,096 instances, and one that is off balance by as much, are always found."""
    rng = np.random.default_rng(2)
    for _ in range(20):
        row = rng.integers(0, 2, N, dtype=np.uint8)
        like = np.where(rng.random(N) < 0.2, row, rng.integers(0, 2, N, dtype=np.uint8))
        uneven = (rng.random(N) < 0.6).astype(np.uint8)
        assert suspicious(np.packbits(np.stack([row, like]), bitorder="little").tobytes())
        assert suspicious(np.packbits(np.stack([row, uneven]), bitorder="little").tobytes())
