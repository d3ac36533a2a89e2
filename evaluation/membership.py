"""`blindsight eval membership`: does anything a server sees tell who was in the training set?

Positive control: an overfitted network attacked in the clear. Then the same attacks on what each server sees while the
real protocols classify the same pictures (`record` says what is in it), and on the same views with the secret laid bare,
where each must succeed; tests of uniformity of the whole views; negative controls. Work is spread over processes; what is
random in the protocols comes from the operating system, so figures of the views differ from run to run.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blindsight.evaluation import controls, data, labels, uniform, views
from blindsight.evaluation.metrics import Result, judge, roc
from blindsight.evaluation.record import record
from blindsight.evaluation.target import Shadows, Target, compiled, inner, tensor, train
from blindsight.evaluation.view import PARTIES, View, joined, some
from blindsight.he.ingest import DELTA, Q

DEPLOYMENTS = ("cloud-owned", "concealed")
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Size:
    """How much is done. `judged`, `known`: pictures of each kind; `bare`: those of each whose views are laid bare too."""

    judged: int = 2000
    known: int = 500
    steps: int = 1500
    shadows: int = 4
    epochs: int = 20
    chunk: int = 250
    bare: int = 500
    logits: int = 100_000


DEFAULT = Size()
FULL = Size(judged=5000, known=2500, steps=4500, shadows=16, bare=2000, logits=200_000)
QUICK = Size(judged=60, known=40, steps=200, shadows=4, epochs=12, chunk=100, bare=100)


@dataclass
class Report:
    """`figures`: the JSON object; `curves`: name -> (FPR, TPR) for the page."""

    figures: dict[str, Any]
    curves: dict[str, tuple[np.ndarray, np.ndarray]]


def run(folder: Path | None, size: Size = DEFAULT, jobs: int = 2, progress: Progress | None = None) -> Report:
    """The whole evaluation.

    Args:
        folder: CIFAR-10 packs (`data.population`).
        jobs: processes.
        progress: called with the phase, what is done and what there is to do.

    Raises:
        data.DataError: too few pictures. ChannelError: a protocol failed.
    """
    started, tell = time.perf_counter(), progress or (lambda phase, done, of: None)
    people = data.population(folder, size.judged, size.known)
    with _pool(jobs) as pool, tempfile.TemporaryDirectory(prefix="blindsight-") as temporary:
        net, shadows = _train(pool, people, size, tell)
        model, path = compiled(net, people.x[:200]), Path(temporary) / "overfit.bsm"
        model.save(path)
        names = views.Names.of(model.plan)
        given = views.Knowledge(people, net, shadows, names, size.epochs)
        seen = _record(pool, path, people, size.chunk, names.all, tell)
        parties = [(d, p) for d in DEPLOYMENTS for p in (0, 1)]
        attacks = {who: pool.submit(_attack, given, seen[who[0]][who[1]]) for who in parties}
        pick = _first(people, size.bare)
        few = _some(given, pick)
        bared = {
            (d, p): pool.submit(
                _attack, few, views.laid_bare(few, some(seen[d][p], pick), some(seen[d][1 - p], pick))
            )
            for d, p in parties
        }
        outcome = pool.submit(controls.run_all, path, people.x[:64], size.logits)
        clear = views.clear(given, people.x)
        _finish([*attacks.values(), *bared.values(), outcome], "attacks and controls", tell)
    found, bare = _named(attacks), _named(bared)
    say = _Judge(people.member, people.known, len(found))
    secure = _top1(seen["cloud-owned"])
    agreement = float(np.mean(secure == inner(net, tensor(people.x)).logits.argmax(axis=1)))
    results = {name: say(s) for name, s in found.items()}
    control, outputs = {name: say.alone(s) for name, s in clear.items()}, _outputs(say, given, secure)
    weak = _Judge(few.pictures.member, few.pictures.known, 1)
    sensitivity = {name: weak.alone(s) for name, s in bare.items()}
    tossed = {f"{d}.{PARTIES[p]}": uniformity(seen[d][p]) for d, p in parties}
    equal = {f"{d}.{PARTIES[p]}": bool((seen[d][p].sizes == seen[d][p].sizes[0]).all()) for d, p in parties}
    negative: dict[str, controls.Outcome] = outcome.result()
    member = people.member[say.judged]
    curves = {f"in the clear: {k}": roc(s[say.judged], member) for k, s in clear.items()}
    curves |= {name: roc(s[say.judged], member) for name, s in found.items()}
    return Report(
        {
            "control": {"auc": control["whitebox"].auc.value, **{k: r.to_json() for k, r in control.items()}},
            "views": {name: r.to_json() for name, r in results.items()},
            "negative_controls": {name: o.caught for name, o in negative.items()},
            "controls": {name: asdict(o) for name, o in negative.items()},
            "outputs": outputs,
            "laid_bare": {name: r.to_json() for name, r in sensitivity.items()},
            "uniformity": tossed,
            "equal_sizes": equal,
            "verdict": {
                "control_succeeds": all(r.auc.value >= 0.7 for r in control.values()),
                "views_say_nothing": all(r.says_nothing() for r in results.values()),
                "telling_views": [name for name, r in results.items() if not r.says_nothing()],
                "attacks_could_succeed": all(r.auc.low > 0.5 for r in sensitivity.values()),
                "blind_attacks": [name for name, r in sensitivity.items() if not r.auc.low > 0.5],
                "views_uniform": all(p > uniform.ALARM for row in tossed.values() for p in row.values()),
                "sizes_equal": all(equal.values()),
                "controls_caught": all(o.caught for o in negative.values()),
            },
            "network": {**net_accuracy(net, people), "secure_top1_agreement": agreement},
            "pictures": people.source, "members": int(people.member.sum()), "known_each": int((people.known & people.member).sum()),
            "size": asdict(size), "seconds": round(time.perf_counter() - started, 1),
        },
        curves,
    )  # fmt: skip


def uniformity(view: View) -> dict[str, float]:
    """p-values of "this part of the view is uniform" over all its pictures, by name; each catches what is not masked."""
    out = {
        "message bits are fair coins": view.bits.p_coins(),
        "message bits do not tell members": view.bits.p_alike(),
    }
    for what, table in (("share", view.shares), ("opening", view.opened)):
        out |= {f"{what} {name}": uniform.p_bytes(v) for name, v in table.items() if v.size >= 2048}
    if view.opened:
        out["differences of openings"] = controls.p_repeated(view)
    if view.phase.size:
        out["v mod q"] = uniform.p_modulo(view.phase, Q, 1 << 10)
        out["v mod delta"] = uniform.p_modulo(view.phase % DELTA, DELTA)
    return out


def _named(jobs: dict[tuple[str, int], Future[dict[str, np.ndarray]]]) -> dict[str, np.ndarray]:
    return {f"{d}.{PARTIES[p]}.{name}": s for (d, p), job in jobs.items() for name, s in job.result().items()}


@dataclass(frozen=True)
class _Judge:
    """Turns scores of all pictures into results on those not known; an attack's guess is "above the median of the known"."""

    member: np.ndarray
    known: np.ndarray
    views: int

    @property
    def judged(self) -> np.ndarray:
        return ~self.known

    def __call__(self, scores: np.ndarray) -> Result:
        return self._judge(scores, float(np.median(scores[self.known])), self.views)

    def alone(self, scores: np.ndarray, threshold: float | None = None) -> Result:
        """With an interval of its own, not simultaneous with others."""
        return self._judge(
            scores, float(np.median(scores[self.known])) if threshold is None else threshold, 1
        )

    def _judge(self, scores: np.ndarray, threshold: float, views: int) -> Result:
        s = scores[self.judged]
        return judge(s, self.member[self.judged], s > threshold, views)


def net_accuracy(net: Target, people: data.Population) -> dict[str, float]:
    """Share of right answers on members and on others."""
    right = inner(net, tensor(people.x)).logits.argmax(axis=1) == people.y
    return {
        "accuracy_members": float(right[people.member].mean()),
        "accuracy_non_members": float(right[~people.member].mean()),
    }


def _outputs(say: _Judge, given: views.Knowledge, secure: np.ndarray) -> dict[str, Any]:
    """What black-box access is worth: `top1` as it was revealed, and logits if they were."""
    people, net = given.pictures, given.net
    copies = labels.augmented(net, people.x, people.y, secure)
    return {
        "top1": {
            "gap": say.alone(labels.gap(secure, people.y), 0.5).to_json(),
            "augmented": say.alone(copies).to_json(),
        },
        "logits": say.alone(given.lira(inner(net, tensor(people.x)).logits)).to_json(),
    }


def _top1(both: tuple[View, View]) -> np.ndarray:
    """The classes that the device opens."""
    return (both[0].shares["result"] + both[1].shares["result"])[:, 0].astype(np.int64)


def _first(people: data.Population, each: int) -> np.ndarray:
    return np.sort(np.concatenate([np.flatnonzero(side)[:each] for side in (people.member, ~people.member)]))


def _some(given: views.Knowledge, pick: np.ndarray) -> views.Knowledge:
    """The same on these pictures, half of each kind known."""
    people = given.pictures
    member = people.member[pick]
    known = np.zeros(len(pick), bool)
    for side in (member, ~member):
        known[np.flatnonzero(side)[::2]] = True
    few = replace(people, x=people.x[pick], y=people.y[pick], member=member, known=known)
    shadows = Shadows(given.shadows.logits[:, pick], given.shadows.trained_on[:, pick])
    return replace(given, pictures=few, shadows=shadows)


# --- work for other processes


@contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes with one computing thread each; what is left undone is dropped when an error ends the run."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _train(
    pool: ProcessPoolExecutor, people: data.Population, size: Size, tell: Progress
) -> tuple[Target, Shadows]:
    rng = np.random.default_rng(100)
    inside = np.stack([rng.permutation(size.shadows) < size.shadows // 2 for _ in people.y], axis=1)
    sets = [people.member, *inside]
    work = [
        pool.submit(_trained, people.x, people.y, part, 1000 + i, size.steps) for i, part in enumerate(sets)
    ]
    _finish(work, "training", tell)
    net = Target()
    net.load_state_dict({k: torch.from_numpy(v) for k, v in work[0].result()[0].items()})
    return net.eval(), Shadows(np.stack([job.result()[1] for job in work[1:]]), inside)


def _trained(
    x: np.ndarray, y: np.ndarray, part: np.ndarray, seed: int, steps: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    torch.set_num_threads(1)
    z, pick = tensor(x), torch.from_numpy(np.flatnonzero(part))
    net = train(z[pick], torch.from_numpy(y)[pick], seed, steps)
    return {k: v.numpy() for k, v in net.state_dict().items()}, inner(net, z).logits


def _record(
    pool: ProcessPoolExecutor, path: Path, people: data.Population, chunk: int, keep: set[str], tell: Progress
) -> dict[str, tuple[View, View]]:
    parts = [slice(i, i + chunk) for i in range(0, len(people.x), chunk)]
    work = {
        d: [pool.submit(record, path, d, people.x[p], keep=keep, kinds=people.member[p]) for p in parts]
        for d in DEPLOYMENTS
    }
    _finish([job for jobs in work.values() for job in jobs], "secure runs", tell)
    both = {d: [job.result() for job in jobs] for d, jobs in work.items()}
    return {d: (joined([a for a, _ in pairs]), joined([b for _, b in pairs])) for d, pairs in both.items()}


def _attack(given: views.Knowledge, view: View) -> dict[str, np.ndarray]:
    torch.set_num_threads(1)
    return views.on_view(given, view)


def _finish(work: list[Future[Any]], phase: str, tell: Progress) -> None:
    tell(phase, 0, len(work))
    for done, job in enumerate(as_completed(work), 1):
        job.result()
        tell(phase, done, len(work))
