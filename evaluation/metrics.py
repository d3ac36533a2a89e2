"""How well an attack tells members from non-members: ROC, AUC, TPR at a low FPR, balanced accuracy, with intervals.

A score is higher where the attack believes in membership. AUC counts ties half; a threshold that ties is never taken
halfway, so TPR is what an attacker gets at no more than the false positives allowed.

Intervals. AUC and balanced accuracy: bootstrap over members and non-members, `z` standard deviations of it (percentiles
of a bootstrap would need some 10^5 resamples at the levels that a Bonferroni correction asks for). TPR at a low FPR:
the bootstrap of two or three false positives is worthless (none in the sample gives an interval of one point), so the
interval counts: x members lie above the k-th false positive; if the members' density there is lambda times the others',
x is negative binomial, and inverting that as Clopper and Pearson (Biometrika 1934) do for the binomial gives lambda,
hence TPR = lambda * FPR. It contains the FPR exactly when the count fits lambda = 1. The percentiles of the bootstrap are
given beside it, at 95 % for each figure alone.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np

RESAMPLES = 500
FPRS = {"1pct": 0.01, "01pct": 0.001}


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its interval."""

    value: float
    low: float
    high: float

    def contains(self, x: float) -> bool:
        """Whether x lies inside, ends included."""
        return self.low <= x <= self.high


@dataclass(frozen=True)
class Result:
    """What one attack reached on one view; intervals at the level it was judged with."""

    auc: Interval
    balanced_accuracy: Interval
    tpr: dict[str, Interval]  # by `FPRS`
    bootstrap: dict[str, tuple[float, float]]  # of the same, 2.5 and 97.5 %
    members: int
    others: int
    level: float

    def says_nothing(self) -> bool:
        """Whether every interval contains what guessing gives."""
        return (
            self.auc.contains(0.5)
            and self.balanced_accuracy.contains(0.5)
            and all(self.tpr[name].contains(fpr) for name, fpr in FPRS.items())
        )

    def to_json(self) -> dict[str, object]:
        """The names of DESIGN section 9, and more."""
        out: dict[str, object] = {}
        parts = {"auc": self.auc, "balanced_accuracy": self.balanced_accuracy}
        parts |= {f"tpr_at_{name}": interval for name, interval in self.tpr.items()}
        for name, interval in parts.items():
            d = asdict(interval)
            out |= {name: d["value"], f"{name}_low": d["low"], f"{name}_high": d["high"]}
        for name, ends in self.bootstrap.items():
            out[f"tpr_at_{name}_bootstrap"] = list(ends)
        return {**out, "members": self.members, "non_members": self.others, "level": self.level}


def auc(scores: np.ndarray, member: np.ndarray) -> float:
    """Chance that a random member scores above a random other, ties half."""
    pos, neg = _grouped(scores, member)
    return float(_auc(pos[None], neg[None])[0])


def roc(scores: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(FPR, TPR) from (0, 0) to (1, 1), one point a distinct score."""
    pos, neg = _grouped(scores, member)
    up = [np.concatenate([[0.0], np.cumsum(c[::-1]) / c.sum()]) for c in (neg, pos)]
    return up[0], up[1]


def judge(scores: np.ndarray, member: np.ndarray, guess: np.ndarray, views: int = 1, seed: int = 1) -> Result:
    """All figures of one attack.

    Args:
        scores: float (N,); member: bool (N,).
        guess: bool (N,), the attack's own decision (for balanced accuracy).
        views: of how many views all intervals are to hold together at 95 % (Bonferroni over views and kinds of interval).
    """
    member = np.asarray(member, bool)
    kinds = 2 + len(FPRS)
    level = 0.95 if views == 1 else 1 - 0.05 / (views * kinds)
    z = NormalDist().inv_cdf(1 - (1 - level) / 2)
    rng = np.random.default_rng(seed)
    pos, neg = _grouped(scores, member)
    m, n = int(pos.sum()), int(neg.sum())
    boot_pos, boot_neg = (
        rng.multinomial(int(c.sum()), c / c.sum(), RESAMPLES).astype(np.float64) for c in (pos, neg)
    )
    area = auc(scores, member)
    sd = float(_auc(boot_pos, boot_neg).std(ddof=1))
    hits, passed = float(np.mean(guess[member])), float(np.mean(~guess[~member]))
    spread = (
        math.sqrt(hits * (1 - hits) / m + passed * (1 - passed) / n) / 2
    )  # the bootstrap's, in closed form
    return Result(
        _around(area, z * sd),
        _around((hits + passed) / 2, z * spread),
        {name: tpr_at(scores, member, fpr, level) for name, fpr in FPRS.items()},
        {name: _percentiles(boot_pos, boot_neg, int(fpr * n + 1e-9)) for name, fpr in FPRS.items()},
        m,
        n,
        level,
    )


def tpr_at(scores: np.ndarray, member: np.ndarray, fpr: float, level: float = 0.95) -> Interval:
    """TPR at a false-positive rate of at most `fpr`, with its interval (module docstring)."""
    scores, member = np.asarray(scores, np.float64), np.asarray(member, bool)
    inside, outside = scores[member], np.sort(scores[~member])[::-1]
    allowed = int(fpr * len(outside) + 1e-9)
    above = int(np.sum(inside > outside[allowed]))
    m, n, k = len(inside), len(outside), allowed + 1
    tail = (1 - level) / 2
    low = 0.0 if above == 0 else _odds(lambda p: _at_least(above, k, p) - tail)
    high = _odds(lambda p: (1 - tail) - _at_least(above + 1, k, p))
    ratio = n / m  # odds p / (1 - p) are lambda * m / n
    return Interval(above / m, min(1.0, low * ratio * fpr), min(1.0, high * ratio * fpr))


def _percentiles(pos: np.ndarray, neg: np.ndarray, allowed: int) -> tuple[float, float]:
    """Of the TPR over rows of resampled counts (ascending scores), with so many false positives allowed."""
    above = neg[:, ::-1].cumsum(axis=1)
    first = (above > allowed).argmax(axis=1)  # the group at which there are too many
    hits = np.concatenate([np.zeros((len(pos), 1)), pos[:, ::-1].cumsum(axis=1)], axis=1)
    rate = hits[np.arange(len(pos)), first] / pos.sum(axis=1)
    low, high = np.quantile(rate, [0.025, 0.975])
    return float(low), float(high)


def _around(x: float, half: float) -> Interval:
    return Interval(x, max(0.0, x - half), min(1.0, x + half))


def _grouped(scores: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts of members and of others at each distinct score, ascending."""
    values, index = np.unique(np.asarray(scores, np.float64), return_inverse=True)
    if not np.isfinite(values).all():
        raise ValueError("a score is not a number")
    member = np.asarray(member, bool)
    return tuple(np.bincount(index[part], minlength=len(values)) for part in (member, ~member))  # type: ignore[return-value]


def _auc(pos: np.ndarray, neg: np.ndarray) -> np.ndarray:
    """Of each row of counts."""
    below = np.cumsum(neg, axis=1) - neg
    wins = (pos * (below + neg / 2)).sum(axis=1)
    return wins / (pos.sum(axis=1) * neg.sum(axis=1))


def _at_least(x: int, k: int, p: float) -> float:
    """P(X >= x): at least x members before the k-th other, when each next is a member with chance p.

    That is: of the first x + k - 1, at least x are members.
    """
    trials = x + k - 1
    i = np.arange(x, trials + 1)
    logs = (
        math.lgamma(trials + 1)
        - np.array([math.lgamma(j + 1) + math.lgamma(trials - j + 1) for j in i])
        + i * math.log(p)
        + (trials - i) * math.log1p(-p)
    )
    return float(min(1.0, np.exp(logs).sum()))


def _odds(f: object) -> float:
    """p / (1 - p) where the increasing (in p) or decreasing f changes sign, by bisection."""
    assert callable(f)
    low, high = 1e-12, 1 - 1e-12
    rising = f(high) > f(low)
    for _ in range(60):
        middle = (low + high) / 2
        if (f(middle) > 0) == rising:
            high = middle
        else:
            low = middle
    return low / (1 - low)
