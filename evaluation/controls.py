"""Negative controls: leave one thing out, and the test made for it must notice; with everything in place it must not.

A control counts as caught when its test raises the alarm on the broken protocol and none on the real one. Alarms of
uniformity are p-values below 1e-6 (`uniform.ALARM`): a healthy run raises one in a million tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from blindsight.evaluation import answers, digests, longkey
from blindsight.evaluation.record import BATCH, record
from blindsight.evaluation.uniform import ALARM, p_bytes, p_modulo
from blindsight.evaluation.view import View
from blindsight.he.ingest import DELTA, Q
from blindsight.params import LINEAR, LOGITS


@dataclass(frozen=True)
class Outcome:
    """One control. `broken`, `real`: whether the alarm went off; `figures`: what it went by, and what was looked at."""

    what: str
    broken: bool
    real: bool
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def caught(self) -> bool:
        """The broken protocol is noticed, the real one passes."""
        return self.broken and not self.real


PICTURES = 2 * BATCH


def of_masks(path: Path, pictures: np.ndarray) -> dict[str, Outcome]:
    """Masks off, masks reused, no R at ingest and a weak one, on recorded runs of all."""
    some, name = pictures[:PICTURES], "cloud-owned"
    real = record(path, name, some)
    bare = record(path, name, some, ("masks-off", "ingest-mask-off"))
    again = record(path, name, some, ("masks-reused", "ingest-mask-weak"))
    p = {name: p_bytes(opened(views[0])) for name, views in (("broken", bare), ("real", real))}
    d = {name: p_repeated(views[0]) for name, views in (("broken", again), ("real", real))}
    v = {name: p_modulo(views[1].phase, Q, 1 << 10) for name, views in (("broken", bare), ("real", real))}
    e = {name: p_modulo(views[1].phase % DELTA, DELTA) for name, views in (("broken", again), ("real", real))}
    return {
        "masks-off": _by_p("openings x - r are uniform bytes", p),
        "masks-reused": _by_p("differences of openings of two pictures are uniform bytes", d),
        "ingest-mask-off": _by_p("what the helper decrypts, v mod q, is uniform", v),
        "ingest-mask-weak": _by_p("R = delta times a random byte: v mod delta is uniform", e),
    }


def of_halves(path: Path, pictures: np.ndarray) -> dict[str, Outcome]:
    """In `concealed` r = r_C + r_H: each server's part must hide the tensor from the other, which knows its own part."""
    some = pictures[:PICTURES]
    real = record(path, "concealed", some)
    without = [record(path, "concealed", some, (f"masks-off-{party}",)) for party in (0, 1)]
    found = {
        "broken": max(p_bytes(opened(without[1 - party][party])) for party in (0, 1)),
        "real": min(p_bytes(opened(view)) for view in real),
    }
    return {"half-of-masks-off": _by_p("openings less one's own part of r are uniform bytes", found)}


def of_answers() -> dict[str, Outcome]:
    """The attacks of `answers`: weak offline masks, and no encryption of zero."""
    precise, owner = answers.Owner(LOGITS), answers.Owner(LINEAR)
    weak = answers.regress(precise, answers.careless_phases(precise))
    views = answers.real_views(precise)
    real = answers.regress(precise, np.stack([precise.phase(*view) for view in views]))
    kernel = answers.KERNEL.tolist()
    _, bare = answers.Careless(owner).answer(answers.kernel_polynomial(), zero=False, uniform=True)[:2]
    weights = answers.Scattered(answers.PLACES[None], answers.KERNEL[None, None])
    sent, _ = owner.evaluator.answer(owner.ct, np.zeros(1, np.int32), weights, np.arange(LINEAR.n)[None])
    z = {name: estimate / deviation for name, (estimate, deviation) in (("broken", weak), ("real", real))}
    hits = {
        name: float(np.mean(np.array(answers.kernel_from_c1(owner, c1)) == kernel))
        for name, c1 in (("broken", bare), ("real", owner.restore(sent)[1]))
    }
    return {
        "weak-offline-masks": Outcome(
            "a weight regressed on the helper's view: standard deviations from zero", abs(z["broken"]) > 8,
            abs(z["real"]) > 5.5, {**z, "estimate": weak[0], "weight": answers.WEIGHT},
        ),
        "no-encryption-of-zero": Outcome(
            "a kernel recovered from c1: share of its weights", hits["broken"] == 1, hits["real"] > 0, hits
        ),
    }  # fmt: skip


def of_long_key(logits: int = 100_000) -> dict[str, Outcome]:
    """A key for everything against a key for 16 inferences of ten logits."""
    share = {
        "broken": longkey.right_coefficients(logits),
        "real": longkey.right_coefficients(16 * longkey.OUTPUTS),
    }
    what = f"coefficients of the key found from {logits} logits, against the 160 that a fresh key serves"
    return {"long-lived-layer-key": Outcome(what, share["broken"] > 0.9, share["real"] > 0.6, share)}


def of_digests(pictures: np.ndarray) -> dict[str, Outcome]:
    """The helper decides between two pictures by the manifest: bare digests, the salt handed to it, the real thing."""
    pairs = pictures[: len(pictures) // 2 * 2].reshape(-1, 2, *pictures.shape[1:])[:32]
    _, real = digests.picked(pairs)
    out = {}
    for mistake in digests.MISTAKES:
        right, decided = digests.picked(pairs, mistake)
        figures = {"pairs": len(pairs), "broken": right / len(pairs), "real": real / len(pairs)}
        name = "bare-digests" if mistake == "bare" else mistake
        out[name] = Outcome(
            "the right one of two pictures picked", right == decided == len(pairs), real > 0, figures
        )
    return out


def opened(view: View) -> np.ndarray:
    """All openings of a view, less what it knows of the masks, as bytes."""
    return np.concatenate([v.reshape(-1) for v in view.opened.values()]).view(np.uint8)


def p_repeated(view: View) -> float:
    """The smaller p-value of "differences of openings are uniform bytes": of neighbours, and of the same places of two
    batches. Twice it, since two are looked at.
    """
    lags = [lag for lag in (1, BATCH) if lag < len(view.times)]
    return min(1.0, len(lags) * min(p_bytes(_differences(view, lag)) for lag in lags))


def _differences(view: View, lag: int) -> np.ndarray:
    return np.concatenate([(v[lag:] - v[:-lag]).reshape(-1) for v in view.opened.values()]).view(np.uint8)


def run_all(path: Path, pictures: np.ndarray, logits: int = 100_000) -> dict[str, Outcome]:
    """Every control, on a compiled network and some pictures (uint8 (N >= 32, 32, 32, 3)).

    Args:
        logits: how many the attacker of the long-lived key gets.
    """
    out: dict[str, Outcome] = {}
    parts: tuple[Callable[[], dict[str, Outcome]], ...] = (
        lambda: of_masks(path, pictures),
        lambda: of_halves(path, pictures),
        of_answers,
        lambda: of_long_key(logits),
        lambda: of_digests(pictures),
    )
    for part in parts:
        out |= part()
    return out


def _by_p(what: str, p: dict[str, float]) -> Outcome:
    return Outcome(f"{what}: p", p["broken"] < ALARM, p["real"] < ALARM, p)
