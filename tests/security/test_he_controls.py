"""What the helper could learn from an answer, and what each step of the answer prevents (DESIGN section 4).

`evaluation.answers` rebuilds the evaluator's sequence step by step, so that single steps can be left out: these negative
controls show that the attacks there work. The same attacks are then run on answers of the real `Evaluator`, where they fail.
"""

import numpy as np
import pytest

from blindsight.evaluation.answers import (
    KERNEL,
    PLACES,
    WEIGHT,
    Careless,
    Owner,
    careless_phases,
    centred,
    chi_square,
    kernel_from_c1,
    kernel_polynomial,
    real_views,
    regress,
    shift,
)
from blindsight.he.linear import Scattered
from blindsight.params import LINEAR, LOGITS


@pytest.fixture(scope="module")
def owner() -> Owner:
    return Owner(LINEAR)


@pytest.fixture(scope="module")
def precise() -> Owner:
    """The helper in the ring that rounds least (in LINEAR the rounding of c0 is as coarse as delta and hides e too)."""
    return Owner(LOGITS)


def test_the_rebuilt_sequence_is_right(owner: Owner) -> None:
    """With every step in place its shares add up, so what the controls leave out is just what they say."""
    c0, c1, shares = Careless(owner).answer(kernel_polynomial(), zero=True, uniform=True)
    opened = (2 * LINEAR.t * owner.phase(c0, c1) + LINEAR.q) // (2 * LINEAR.q) % LINEAR.t
    r = owner.r[0].astype(np.int64)
    want = sum(int(k) * shift(r, int(p)) for k, p in zip(KERNEL, PLACES, strict=True))
    error = centred(opened + shares.astype(object) - want.astype(object), LINEAR.t)
    assert np.abs(error).max() <= 5


def test_without_the_encryption_of_zero_the_helper_reads_the_weights(owner: Owner) -> None:
    _, c1, _ = Careless(owner).answer(kernel_polynomial(), zero=False, uniform=True)
    assert kernel_from_c1(owner, c1) == KERNEL.tolist()


def test_the_real_answer_does_not_give_them_away(owner: Owner) -> None:
    weights = Scattered(PLACES[None], KERNEL[None, None])
    answer, _ = owner.evaluator.answer(owner.ct, np.zeros(1, np.int32), weights, np.arange(LINEAR.n)[None])
    found = kernel_from_c1(owner, owner.restore(answer)[1])
    assert not set(found) & set(KERNEL.tolist())
    assert max(map(abs, found)) > 1 << 20  # not even a short solution: nothing of W is left to find in c1


def test_masked_by_delta_times_a_share_the_helper_regresses_a_weight(precise: Owner) -> None:
    phases = careless_phases(precise)
    estimate, deviation = regress(precise, phases)
    assert estimate > 8 * deviation  # certainly a weight there,
    assert abs(estimate - WEIGHT) < 5 * deviation  # and this one; more answers give more of its bits
    assert chi_square(phases % LOGITS.delta, LOGITS.delta) > 1000  # the helper's view is far from uniform


def test_masked_by_a_uniform_r_the_helper_learns_nothing(precise: Owner) -> None:
    views = real_views(precise)
    phases = np.stack([precise.phase(*view) for view in views])
    estimate, deviation = regress(precise, phases)
    assert abs(estimate) < 5.5 * deviation  # nothing there,
    assert deviation > 1e9 * WEIGHT  # nor could there be, with ever so many answers
    for name, view, modulus in [
        ("v", phases, LOGITS.q),
        ("v mod delta", phases % LOGITS.delta, LOGITS.delta),
        ("c0", np.stack([c0 for c0, _ in views]), LOGITS.q),
        ("c1", np.stack([c1 for _, c1 in views]), LOGITS.q),
    ]:
        assert abs(chi_square(view, modulus)) < 6, name
