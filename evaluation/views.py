"""The attacks on a server's view: the same code that breaks the network in the clear, fed with what the server has.

Where the clear attack takes an activation the server's attacker takes its share of it, and where a masked value was
opened, that, carried on through the rest of the network; it knows the true label and the whole network besides, also
where the deployment would not tell it. `laid_bare` puts the secret back into a view: then every attack must succeed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F

from blindsight.evaluation import lira, whitebox
from blindsight.evaluation.data import Population
from blindsight.evaluation.metrics import auc
from blindsight.evaluation.target import Inner, Shadows, Target, inner, tensor
from blindsight.evaluation.view import View
from blindsight.nn.plan import Plan

PICTURE, MAPS, FEATURES, HIDDEN = range(4)  # what conv1, conv2, fc1 and fc2 read


@dataclass(frozen=True)
class Names:
    """Names in the plan of what the four weighted operations read and of the logits; the scales of these five."""

    read: tuple[str, ...]
    logits: str
    scales: tuple[int, ...]

    @classmethod
    def of(cls, plan: Plan) -> Names:
        read = tuple(op.inputs[0] for op in plan.weighted)
        logits = plan.weighted[-1].out
        return cls(read, logits, tuple(plan.op(name).scale for name in (*read, logits)))

    @property
    def all(self) -> set[str]:
        return {*self.read, self.logits, "pixels", "result"}


@dataclass(frozen=True)
class Knowledge:
    """What every attacker is given: the pictures' labels and known memberships, the network, the shadow networks."""

    pictures: Population
    net: Target
    shadows: Shadows
    names: Names
    epochs: int

    def whitebox(self, parts: whitebox.Components) -> np.ndarray:
        """Scores of an attack network on these components."""
        return whitebox.attack(parts, self.pictures.member, self.pictures.known, self.epochs)

    def components(self, seen: Inner) -> dict[str, np.ndarray]:
        return whitebox.components(seen, self.pictures.y, self.net.fc2.weight.detach().numpy())

    def lira(self, logits: np.ndarray) -> np.ndarray:
        return lira.scores(logits, self.pictures.y, self.shadows)


def clear(given: Knowledge, x: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of both attacks on pictures in the clear: the positive control."""
    seen = inner(given.net, tensor(x))
    return {"whitebox": given.whitebox(given.components(seen)), "lira": given.lira(seen.logits)}


def on_view(given: Knowledge, view: View) -> dict[str, np.ndarray]:
    """Scores of every attack on one server's view, by name."""
    names = given.names
    values = dict(zip((*names.read, names.logits), names.scales, strict=True))
    shares = {k: _number(view.shares[k], s) for k, s in values.items() if k in view.shares}
    seen = Inner(shares[names.read[FEATURES]], shares[names.read[HIDDEN]], shares[names.logits])
    parts = {f"share {k}": v for k, v in given.components(seen).items()}
    out = {"lira-shares": given.lira(seen.logits)}
    for level, name in enumerate(names.read):
        if name in view.opened:
            opened = _carried_on(given.net, level, _number(view.opened[name], values[name]))
            out[f"lira-opened-{name}"] = given.lira(opened.logits)
            found = given.components(opened)
            kept = ("outputs", "loss", "gradients") if level < FEATURES else tuple(found)
            parts |= {f"opened {name} {k}": found[k] for k in kept if k != "label"}
    out["whitebox"] = given.whitebox(parts)
    shape = given.pictures.x.shape
    for name, picture in (("ingest", view.guess), ("pixels", view.shares["pixels"].astype(np.uint8))):
        out |= {f"{attack}-{name}": s for attack, s in clear(given, picture.reshape(shape)).items()}
    out["messages"] = best_column(np.hstack([_readings(given, view), view.messages]), given.pictures)
    out["timing"] = given.whitebox({"times": np.log(view.times), "sizes": view.sizes.astype(np.float32)})
    return out


def laid_bare(given: Knowledge, view: View, other: View) -> View:
    """The view with what hides the secret taken away, one thing for each attack: shares with the other's added, so also
    values in place of openings; the picture in place of the ingest; the logits in a message; members take longer.
    """
    names = given.names
    shares = {k: v + other.shares[k] for k, v in view.shares.items()}
    n, h, w, c = given.pictures.x.shape
    values = shares | {names.read[PICTURE]: shares["pixels"].reshape(n, h, w, c).transpose(0, 3, 1, 2)}
    logits = shares[names.logits].view(np.int32)[:, None, :]
    slower = view.times + given.pictures.member[:, None] * view.times.std(axis=0)
    return replace(
        view, shares=shares, opened={k: values[k].reshape(n, -1) for k in view.opened},
        guess=shares["pixels"].astype(np.uint8), heads=np.concatenate([view.heads, logits], axis=1), times=slower,
    )  # fmt: skip


def best_column(columns: np.ndarray, pictures: Population) -> np.ndarray:
    """The column of (N, M) that tells the known pictures best, turned so that more of it says member: float64 (N,)."""
    known, member = pictures.known, pictures.member[pictures.known]
    areas = np.array([auc(column[known], member) for column in columns.T])
    best = int(np.abs(areas - 0.5).argmax())
    return np.sign(areas[best] - 0.5) * columns[:, best].astype(np.float64)


def _readings(given: Knowledge, view: View) -> np.ndarray:
    """Every message read as if it began with the logits: its likelihood ratios, float32 (N, M)."""
    scale = given.names.scales[-1]
    scores = [given.lira(_number(view.heads[:, m], scale)) for m in range(view.heads.shape[1])]
    return np.stack(scores, axis=1).astype(np.float32)


def _number(share: np.ndarray, scale: int) -> np.ndarray:
    """A ring element read as the number it would be, were it the value itself."""
    return np.ascontiguousarray(share).view(np.int32).astype(np.float32) / np.float32(2.0**scale)


def _carried_on(net: Target, level: int, value: np.ndarray) -> Inner:
    """The network from what its `level`-th operation reads, float32 (N, size), on."""
    if level == PICTURE:
        pixels = np.clip(value, 0, 255).astype(np.uint8).reshape(-1, 3, 32, 32)
        return inner(net, tensor(pixels.transpose(0, 2, 3, 1)))
    with torch.no_grad():
        x = torch.from_numpy(value)
        if level == MAPS:
            x = F.relu(net.conv2(x.reshape(len(x), net.conv2.in_channels, 16, 16))).flatten(1)
        hidden = x if level == HIDDEN else F.relu(net.fc1(x))
        features = np.zeros((len(x), 0), np.float32) if level == HIDDEN else x.numpy()
        return Inner(features, hidden.numpy(), net.fc2(hidden).numpy())
