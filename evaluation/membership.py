"""`blindsight eval membership`: does anything a server sees tell who was in the training set?

Positive control: an overfitted network attacked in the clear. Then the same attacks on everything each server sees while
the real protocols classify the same pictures, and negative controls. Work is spread over processes; what is random in
the protocols comes from the operating system, so figures of the views differ from run to run.
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

from blindsight.evaluation import controls, data, labels, views
from blindsight.evaluation.metrics import Result, judge, roc
from blindsight.evaluation.record import PARTIES, View, record
from blindsight.evaluation.target import Shadows, Target, compiled, inner, tensor, train

DEPLOYMENTS = ("cloud-owned", "concealed")
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Size:
    """How much is done. `judged`, `known`: pictures of each kind; `tampered`: pictures run with masks off."""

    judged: int = 2000
    known: int = 500
    steps: int = 1500
    shadows: int = 4
    epochs: int = 20
    chunk: int = 250
    tampered: int = 500
    logits: int = 100_000


DEFAULT = Size()
FULL = Size(judged=5000, known=2500, steps=4500, shadows=16, tampered=2000, logits=200_000)
QUICK = Size(judged=60, known=40, steps=200, shadows=4, epochs=12, chunk=100, tampered=60)


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
        seen = _record(pool, path, people.x, size.chunk, names.all, tell)
        broken = _broken(pool, path, people, size, names.all)
        jobs_of = {
            (d, party): pool.submit(_attack, given, view)
            for d, both in seen.items()
            for party, view in zip(PARTIES, both, strict=True)
        }
        loose = {
            party: pool.submit(_attack, _some(given, size.tampered), view)
            for party, view in zip(PARTIES, broken.result(), strict=True)
        }
        outcome = pool.submit(_controls, path, people.x[:64], size.logits)
        clear = views.clear(given, people.x)
        _finish([*jobs_of.values(), *loose.values(), outcome], "attacks and controls", tell)
    found = {
        f"{d}.{party}.{name}": s for (d, party), job in jobs_of.items() for name, s in job.result().items()
    }
    judged = ~people.known
    say = _Judge(people.member[judged], judged, len(found))
    secure = _top1(seen["cloud-owned"])
    agreement = float(np.mean(secure == inner(net, tensor(people.x)).logits.argmax(axis=1)))
    results = {name: say(s) for name, s in found.items()}
    control, outputs = {name: say.alone(s) for name, s in clear.items()}, _outputs(say, given, secure)
    few = _some(given, size.tampered)
    weak = _Judge(few.pictures.member[~few.pictures.known], ~few.pictures.known, 1)
    sensitivity = {
        f"{party}.{name}": weak.alone(s)
        for party, name, s in _telling({p: job.result() for p, job in loose.items()})
    }
    negative: dict[str, controls.Outcome] = outcome.result()
    curves = {f"in the clear: {k}": roc(s[judged], people.member[judged]) for k, s in clear.items()}
    curves |= {name: roc(s[judged], people.member[judged]) for name, s in found.items()}
    exact = net_accuracy(net, people)
    return Report(
        {
            "control": {"auc": control["whitebox"].auc.value, **{k: r.to_json() for k, r in control.items()}},
            "views": {name: r.to_json() for name, r in results.items()},
            "negative_controls": {name: o.caught for name, o in negative.items()},
            "controls": {name: asdict(o) for name, o in negative.items()},
            "outputs": outputs,
            "masks_off": {name: r.to_json() for name, r in sensitivity.items()},
            "equal_sizes": {
                f"{d}.{party}": bool((view.sizes == view.sizes[0]).all())
                for d, both in seen.items() for party, view in zip(PARTIES, both, strict=True)
            },
            "verdict": {
                "control_succeeds": control["whitebox"].auc.value >= 0.7,
                "views_say_nothing": all(r.says_nothing() for r in results.values()),
                "telling_views": [name for name, r in results.items() if not r.says_nothing()],
                "controls_caught": all(o.caught for o in negative.values()),
            },
            "network": {**exact, "secure_top1_agreement": agreement},
            "pictures": people.source, "members": int(people.member.sum()), "known_each": int((people.known & people.member).sum()),
            "size": asdict(size), "seconds": round(time.perf_counter() - started, 1),
        },
        curves,
    )  # fmt: skip


@dataclass(frozen=True)
class _Judge:
    """Turns scores of all pictures into results on the judged ones."""

    member: np.ndarray
    judged: np.ndarray
    views: int

    def __call__(self, scores: np.ndarray) -> Result:
        s = scores[self.judged]
        return judge(s, self.member, s > 0, self.views)

    def alone(self, scores: np.ndarray, threshold: float = 0.0) -> Result:
        """With an interval of its own, not simultaneous with others."""
        s = scores[self.judged]
        return judge(s, self.member, s > threshold)


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
    threshold = float(np.median(copies[people.known]))
    return {
        "top1": {
            "gap": say.alone(labels.gap(secure, people.y), 0.5).to_json(),
            "augmented": say.alone(copies, threshold).to_json(),
        },
        "logits": say.alone(given.lira(inner(net, tensor(people.x)).logits)).to_json(),
    }


def _telling(scores: dict[str, dict[str, np.ndarray]]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Of the runs with masks off, the attacks on what then lies bare: openings at the cloud, the picture at the helper."""
    for party, wanted in (
        ("cloud", ("lira-openings", "whitebox")),
        ("helper", ("lira-ingest", "whitebox-ingest")),
    ):
        for name in wanted:
            yield party, name, scores[party][name]


def _top1(both: tuple[View, View]) -> np.ndarray:
    """The classes that the device opens."""
    return (both[0].shares["result"] + both[1].shares["result"])[:, 0].astype(np.int64)


def _first(people: data.Population, each: int) -> np.ndarray:
    return np.sort(np.concatenate([np.flatnonzero(side)[:each] for side in (people.member, ~people.member)]))


def _some(given: views.Knowledge, each: int) -> views.Knowledge:
    """The same on fewer pictures: the first of each kind, half of them known."""
    people = given.pictures
    pick = _first(people, each)
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
    pool: ProcessPoolExecutor, path: Path, x: np.ndarray, chunk: int, keep: set[str], tell: Progress
) -> dict[str, tuple[View, View]]:
    work = {
        d: [pool.submit(record, path, d, x[i : i + chunk], (), keep) for i in range(0, len(x), chunk)]
        for d in DEPLOYMENTS
    }
    _finish([job for jobs in work.values() for job in jobs], "secure runs", tell)
    return {d: _joined([job.result() for job in jobs]) for d, jobs in work.items()}


def _broken(
    pool: ProcessPoolExecutor, path: Path, people: data.Population, size: Size, keep: set[str]
) -> Future[tuple[View, View]]:
    few = people.x[_first(people, size.tampered)]
    return pool.submit(record, path, "cloud-owned", few, ("masks-off", "ingest-mask-off"), keep)


def _joined(parts: list[tuple[View, View]]) -> tuple[View, View]:
    return _one([a for a, _ in parts]), _one([b for _, b in parts])


def _one(parts: list[View]) -> View:
    def tables(name: str) -> dict[str, np.ndarray]:
        return {k: np.concatenate([getattr(p, name)[k] for p in parts]) for k in getattr(parts[0], name)}

    def arrays(name: str) -> np.ndarray:
        return np.concatenate([getattr(p, name) for p in parts])

    return View(
        tables("shares"),
        tables("opened"),
        *(arrays(n) for n in ("guess", "ingest", "messages", "times", "sizes")),
    )


def _attack(given: views.Knowledge, view: View) -> dict[str, np.ndarray]:
    torch.set_num_threads(1)
    return views.on_view(given, view)


def _controls(path: Path, pictures: np.ndarray, logits: int) -> dict[str, controls.Outcome]:
    return controls.run_all(path, pictures, logits)


def _finish(work: list[Future[Any]], phase: str, tell: Progress) -> None:
    tell(phase, 0, len(work))
    for done, job in enumerate(as_completed(work), 1):
        job.result()
        tell(phase, done, len(work))
