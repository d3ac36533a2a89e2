"""Which pictures are members: drawn from one population, so that nothing but training tells the two kinds apart."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blindsight.models import zoo
from blindsight.models.packs import PackError, read_pack

CLASSES = 10


class DataError(Exception):
    """The pictures do not do; one line that names the fix."""


@dataclass(frozen=True)
class Population:
    """Pictures of which the first half, shuffled, are members.

    Attributes:
        x: uint8 (N, H, W, 3); y: int64 (N,); member: bool (N,), as many members as others.
        known: bool (N,): those whose membership the attacker knows and trains on; it is judged on the rest.
        source: where they come from, for the report.
    """

    x: np.ndarray
    y: np.ndarray
    member: np.ndarray
    known: np.ndarray
    source: str


def few(folder: Path | None) -> bool:
    """Whether only the small pack is at hand: no folder named, neither here nor by BLINDSIGHT_DATA."""
    return folder is None and "BLINDSIGHT_DATA" not in os.environ


def population(folder: Path | None, judged: int, known: int, seed: int = 7) -> Population:
    """Members and others, `judged` + `known` of each, or as many as the small pack holds.

    Args:
        folder: where CIFAR-10 packs are (cifar10_train_*.npz with x_train, y_train); None: the folder
            that BLINDSIGHT_DATA names, else the 200 test pictures that come with Blindsight.

    Raises:
        DataError: a folder was named and holds too few pictures.
    """
    named = folder or (Path(os.environ["BLINDSIGHT_DATA"]) if "BLINDSIGHT_DATA" in os.environ else None)
    rng = np.random.default_rng(seed)
    if named is None:
        with np.load(zoo.pictures("cifar")) as pack:
            x, y = pack["x"], pack["y"]
        source = f"the {len(x)} CIFAR-10 test pictures that come with Blindsight"
        each = min(judged + known, len(x) // 2)
        known = min(known, 2 * each // 5)
    else:
        x, y = _packs(named, 2 * (judged + known))
        source, each = "CIFAR-10 training pictures", judged + known
    pick = rng.permutation(len(x))[: 2 * each]
    member = np.zeros(2 * each, bool)
    member[rng.permutation(2 * each)[:each]] = True
    told = np.zeros(2 * each, bool)
    for side in (member, ~member):
        told[rng.permutation(np.flatnonzero(side))[:known]] = True
    return Population(np.ascontiguousarray(x[pick]), y[pick].astype(np.int64), member, told, source)


def _packs(folder: Path, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    found = sorted(folder.glob("cifar10_train_*.npz"))
    if not found:
        raise DataError(
            f"{folder}: no cifar10_train_*.npz in it (x_train uint8 (N, 32, 32, 3), y_train (N,)): name another with --data DIR"
        )
    xs, ys = [], []
    for path in found:
        try:
            pack = read_pack(path, "x_train", "y_train")
        except PackError as error:
            raise DataError(str(error)) from None
        x, y = pack["x_train"], pack.get("y_train", np.zeros(0))
        if x.dtype != np.uint8 or x.ndim != 4 or x.shape[1:] != (32, 32, 3) or y.shape != (len(x),):
            raise DataError(
                f"{path}: x_train must be uint8 (N, 32, 32, 3) with as many labels, it is {x.dtype} {x.shape}"
            )
        xs.append(x)
        ys.append(y)
        if sum(map(len, xs)) >= wanted:
            return np.concatenate(xs), np.concatenate(ys)
    raise DataError(
        f"{folder}: {sum(map(len, xs))} pictures in it, {wanted} are needed: add packs, or ask for fewer"
    )
