"""The likelihood-ratio attack: Carlini et al., "Membership inference attacks from first principles" (IEEE S&P 2022).

The confidence in the true class, as log(p / (1 - p)), of networks that did and did not train on a picture is taken as
normal, with the picture's own means over the shadow networks and, since these are few, one variance for all (section VI.C there).
The score is the log of the ratio of the two densities at the confidence observed.
"""

from __future__ import annotations

import numpy as np

from blindsight.evaluation.target import Shadows

LIMIT = 60.0  # of a confidence: what float32 probabilities could still tell apart


def confidence(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """log(p_y / (1 - p_y)) of logits (..., N, 10)."""
    z = logits.astype(np.float64)
    rows = np.broadcast_to(y[:, None], (*z.shape[:-1], 1))
    own = np.take_along_axis(z, rows, axis=-1)
    rest = z.copy()
    np.put_along_axis(rest, rows, -np.inf, axis=-1)
    top = rest.max(axis=-1, keepdims=True)
    others = top + np.log(np.exp(rest - top).sum(axis=-1, keepdims=True))
    return np.clip((own - others)[..., 0], -LIMIT, LIMIT)


def scores(logits: np.ndarray, y: np.ndarray, shadows: Shadows) -> np.ndarray:
    """Log-likelihood ratios (N,); above 0: it says member. At least four shadow networks, each picture in half of them."""
    seen, at = confidence(shadows.logits, y), confidence(logits, y)
    inside = _log_density(at, seen, shadows.trained_on)
    return inside - _log_density(at, seen, ~shadows.trained_on)


def _log_density(at: np.ndarray, seen: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Of a normal with each picture's mean over `where`, and the pooled variance of a further value around that mean."""
    count = where.sum(axis=0)
    if count.min() < 2:
        raise ValueError(
            "the likelihood-ratio attack needs two shadow networks on each side of every picture"
        )
    mean = (seen * where).sum(axis=0) / count
    pooled = float((((seen - mean) * where) ** 2).sum() / (count - 1).sum())
    variance = pooled * (1 + 1 / count)
    return -((at - mean) ** 2) / (2 * variance) - 0.5 * np.log(variance)
