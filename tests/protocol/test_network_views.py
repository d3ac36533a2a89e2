"""What each server sees of whole inferences, ingest to sealed result, in both deployments: real runs of the services' steps.

The simulated view of a server, given the public plan alone: messages of the plan's lengths, uniform bytes (a manifest's public
fields aside). The real one must have the same lengths for any two pictures; bytes that are uniform although the picture
stays the same; no value twice; and times of one distribution for two kinds of pictures. Each test names what it would
have caught, and is run on a broken protocol where that is possible.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn

from blindsight.evaluation.record import View, record
from blindsight.evaluation.uniform import ALARM, p_bytes, p_counts, p_modulo, p_same, p_squares
from blindsight.he.ingest import DELTA, Q
from blindsight.models import compile_model

DEPLOYMENTS = ("cloud-owned", "concealed")
SIDE, RUNS = 10, 32


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory):
    """A small network with every kind of step that most networks have, and pictures of its size."""
    torch.manual_seed(1)
    layers = (
        *(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(36, 5)),
    )
    pictures = np.random.default_rng(1).integers(0, 256, (200, SIDE, SIDE, 1), dtype=np.uint8)
    path = tmp_path_factory.mktemp("views") / "tiny.bsm"
    compile_model(nn.Sequential(*layers).eval(), pictures, name="tiny").model.save(path)
    return path, pictures


@pytest.fixture(scope="module", params=DEPLOYMENTS)
def same(request, model) -> tuple[View, View]:
    """Both views of one picture classified again and again, raw messages kept."""
    path, pictures = model
    return record(path, request.param, np.repeat(pictures[:1], RUNS, axis=0), raw=True)


@pytest.fixture(scope="module")
def others(request, same, model) -> tuple[View, View]:
    """As many runs of different pictures, in the deployment of `same`."""
    path, pictures = model
    deployment = "concealed" if same[1].opened else "cloud-owned"
    return record(path, deployment, pictures[:RUNS], raw=True)


@pytest.mark.parametrize("deployment", DEPLOYMENTS)
def test_lengths_and_counts_are_equal_for_any_two_pictures(model, deployment) -> None:
    path, pictures = model
    extremes = np.stack(
        [np.zeros_like(pictures[0]), np.full_like(pictures[0], 255), np.eye(SIDE, dtype=np.uint8)[..., None]]
    )
    views = record(path, deployment, np.concatenate([extremes, pictures[:5]]))
    for view in views:
        assert view.sizes.shape[1] > 20
        assert (view.sizes == view.sizes[0]).all()


def bits(view: View, skip: int) -> np.ndarray:
    """All messages of a run from message `skip` on, bit by bit: uint8 [runs, bits]."""
    joined = np.stack([np.frombuffer(b"".join(run[skip:]), np.uint8) for run in view.received])
    return np.unpackbits(joined, axis=1, bitorder="little")


def fixed(rows: np.ndarray) -> np.ndarray:
    """Which bits never change over the runs: bool [bits]."""
    return np.asarray((rows == rows[0]).all(axis=0))


def p_balanced(rows: np.ndarray) -> float:
    """p-value of "every bit is a fair coin, run by run": the sum over bits of their squared imbalance, two-sided."""
    runs = len(rows)
    return p_squares((rows.sum(axis=0, dtype=np.float64) - runs / 2) / math.sqrt(runs / 4), runs)


SKIP = (0, 1)  # the helper's first message is the manifest: public fields and hashes


def test_what_is_fixed_in_a_message_is_fixed_for_all_pictures(same, others) -> None:
    """Packing leaves some bits unused (the ends of rows, the high bits of short numbers): the same ones, of the same value, for
    any pictures, so a simulator knows them from the plan. All others change from run to run, of one picture as of many."""
    for view, other, skip in zip(same, others, SKIP, strict=True):
        a, b = bits(view, skip), bits(other, skip)
        assert a.shape == b.shape
        assert np.array_equal(fixed(a), fixed(b))
        assert np.array_equal(a[0][fixed(a)], b[0][fixed(b)]), "a bit that tells this picture from others"
        assert (~fixed(a)).sum() > 20_000


def test_every_other_bit_is_a_fair_coin_for_one_picture(same) -> None:
    """A simulator tosses it. Power: 40,000 bits over 32 runs; an imbalance of 54 to 46 in all of them is found, or two in a
    hundred of them constant."""
    for view, skip in zip(same, SKIP, strict=True):
        rows = bits(view, skip)
        rows = rows[:, ~fixed(rows)]
        assert p_balanced(rows) > ALARM
        assert p_balanced(rows[1:] ^ rows[:-1]) > ALARM, "a mask served twice"
        leaky = rows.copy()
        leaky[:, ::50] = leaky[0, ::50]
        assert p_balanced(leaky) < ALARM


def test_no_message_repeats(same) -> None:
    for view, skip in zip(same, SKIP, strict=True):
        for column in list(zip(*view.received, strict=True))[skip:]:
            if len(column[0]) >= 64:
                assert len(set(column)) == RUNS


def test_shares_and_openings_are_uniform_and_independent_of_the_values(same) -> None:
    """Both parties' shares of every tensor and every opening, of a constant picture."""
    cloud, helper = same
    for view in same:
        for name, share in {**view.shares, **{f"opened {k}": v for k, v in view.opened.items()}}.items():
            if share.size >= 2048:
                assert p_bytes(share) > ALARM, name
                assert p_bytes(share[1:] - share[:-1]) > ALARM, f"{name}: differences of runs"
    sums = cloud.shares["pixels"] + helper.shares["pixels"]
    assert (sums == sums[0]).all() and sums.max() < 256, "the shares are not those of the picture"
    assert p_bytes(sums) < ALARM  # negative control: the value itself is not uniform
    assert (
        cloud.shares["result"] + helper.shares["result"]
        == (cloud.shares["result"] + helper.shares["result"])[0]
    ).all()


def test_ingest_is_uniform_to_both(same) -> None:
    """v and R, as 10-bit shares, of a constant picture; their low bits, and v mod delta, show an R that is a multiple of
    delta, which hides the pixel and not the encryption's error."""
    for view in same:
        assert p_modulo(view.ingest, 1024) > ALARM
        assert p_modulo((view.ingest[1:].astype(int) - view.ingest[:-1]) % 1024, 1024) > ALARM
        assert low_bits(view) > ALARM
    assert p_modulo(same[1].phase, Q) > ALARM and p_modulo(same[1].phase % DELTA, DELTA) > ALARM


def low_bits(view: View) -> float:
    """p-value of "the two low bits of the 10-bit shares are uniform"."""
    return p_counts(np.bincount(view.ingest.reshape(-1) & 3, minlength=4))


def test_offline_messages_are_uniform(same) -> None:
    """Encrypted masks, answers, OT: what passes before a picture is known. Numbers below q = 2^50 - 2^25.7 in 50 bits count
    as uniform: their bias is below 2^-14."""
    for view in same:
        big = [np.frombuffer(m, np.uint8) for m in view.offline if len(m) >= 5120]
        assert len(big) >= 2
        for m in big:
            assert p_bytes(m) > ALARM / len(big)


def test_the_balance_test_itself() -> None:
    rng = np.random.default_rng(6)
    p = [p_balanced(rng.integers(0, 2, (RUNS, 20000), dtype=np.uint8)) for _ in range(100)]
    assert np.mean(np.array(p) < 0.05) < 0.15
    assert p_balanced((rng.random((RUNS, 40000)) < 0.54).astype(np.uint8)) < ALARM


def test_broken_servers_are_caught_by_the_same_tests(model) -> None:
    path, pictures = model
    again = np.repeat(pictures[:1], RUNS, axis=0)
    bare = record(path, "cloud-owned", again, ("masks-off", "ingest-mask-off"))
    reused = record(path, "cloud-owned", again, ("masks-reused",))
    weak = record(path, "cloud-owned", again, ("ingest-mask-weak",))
    assert p_modulo(weak[1].phase % DELTA, DELTA) < ALARM and low_bits(weak[1]) < ALARM
    for party in (0, 1):  # of a concealed model either server's part of r must do alone
        half = record(path, "concealed", again, (f"masks-off-{party}",))
        assert any(p_bytes(v) < ALARM for v in half[1 - party].opened.values())
        assert not any(p_bytes(v) < ALARM for v in half[party].opened.values())
    assert any(p_bytes(v) < ALARM for v in bare[0].opened.values())
    assert p_modulo(bare[1].ingest, 1024) < ALARM
    assert any(p_bytes(v[1:] - v[:-1]) < ALARM for v in reused[0].opened.values())


def test_times_do_not_tell_two_kinds_of_pictures_apart(model) -> None:
    """Black and noisy pictures, interleaved; times of every step and of the whole, Kolmogorov and Smirnov's test.

    Power: with 72 of each kind an alarm at 1e-6 / steps needs distributions 0.5 apart, that is: two normal distributions
    1.4 standard deviations apart. A shift of four deviations, added to the real times, is found.
    """
    path, pictures = model
    black = np.zeros_like(pictures[:1])
    order = np.random.default_rng(3).permutation(144) % 2 == 0
    run = np.where(order[:, None, None, None], black, pictures[np.arange(144)])
    views = record(path, "cloud-owned", run)
    for view in views:
        steps = view.times.shape[1]
        for column in view.times.T:
            a, b = column[order], column[~order]
            assert p_same(a, b) > ALARM / steps
            assert p_same(a + 4 * spread(column), b) < ALARM / steps


def spread(x: np.ndarray) -> float:
    """A robust standard deviation: long waits on a busy machine count little."""
    low, high = np.quantile(x, [0.16, 0.84])
    return max(float(high - low) / 2, 1e-7)


def test_the_statistics_themselves() -> None:
    rng = np.random.default_rng(5)
    p = [p_same(*rng.normal(size=(2, 300))) for _ in range(400)]
    assert 0.01 < np.mean(np.array(p) < 0.05) < 0.1
    p = [p_bytes(rng.integers(0, 256, 20000, dtype=np.uint8)) for _ in range(400)]
    assert 0.01 < np.mean(np.array(p) < 0.05) < 0.1
    uneven = np.where(rng.random(20000) < 0.01, 7, rng.integers(0, 256, 20000)).astype(np.uint8)
    assert p_bytes(uneven) < ALARM
    assert p_modulo(rng.integers(0, 1000, 20000), 1024) < ALARM
