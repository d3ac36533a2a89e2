"""What remains to whoever gets outputs: attacks on the revealed label alone, and on logits if those were revealed.

No protocol can take this away: it is the model's. Sources: Yeom et al., "Privacy risk in machine learning" (CSF 2018;
the gap attack: right means member); Choquette-Choo et al., "Label-only membership inference attacks" (ICML 2021,
section 4; how many shifted and mirrored copies are still right).
"""

from __future__ import annotations

import numpy as np

from blindsight.evaluation.target import Target, inner, tensor

SHIFTS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (-2, 0), (2, 0), (0, -2), (0, 2))


def gap(top1: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Scores (N,) of the gap attack: 1 where the revealed class is the true one."""
    return (top1 == y).astype(np.float64)


def augmented(net: Target, x: np.ndarray, y: np.ndarray, top1: np.ndarray) -> np.ndarray:
    """Scores (N,): of 18 shifted and mirrored copies, how many are classified right; the picture itself counts most.

    The copies are classified by the network in the clear, whose class the secure run repeats but for a few in 1,000.
    """
    right = gap(top1, y) * 4
    for mirror in (False, True):
        for dy, dx in SHIFTS:
            copy = np.roll(x[:, :, ::-1] if mirror else x, (dy, dx), axis=(1, 2))
            right += inner(net, tensor(np.ascontiguousarray(copy))).logits.argmax(axis=1) == y
    return right
