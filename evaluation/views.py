"""The attacks on a server's view: the same code that breaks the network in the clear, fed with what the server has.

Where the clear attack takes an activation the server's attacker takes its share of it, and where a masked value was
opened, that; it knows the true label and the whole network besides, also where the deployment would not tell it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from blindsight.evaluation import lira, whitebox
from blindsight.evaluation.data import Population
from blindsight.evaluation.record import View
from blindsight.evaluation.target import Inner, Shadows, Target, inner, tensor
from blindsight.nn.plan import Plan

INNER = ("features", "hidden", "logits")


@dataclass(frozen=True)
class Names:
    """Names in the plan of what the attacks look at, and the scales of these tensors."""

    features: str
    hidden: str
    logits: str
    scale: tuple[int, int, int]

    @classmethod
    def of(cls, plan: Plan) -> Names:
        before, last = plan.weighted[-2:]
        names = (before.inputs[0], last.inputs[0], last.out)
        return cls(*names, tuple(plan.op(name).scale for name in names))  # type: ignore[arg-type]

    @property
    def all(self) -> set[str]:
        return {self.features, self.hidden, self.logits, "result"}


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
    names, (f, h, z) = given.names, given.names.scale
    shares = Inner(
        _number(view.shares[names.features], f),
        _number(view.shares[names.hidden], h),
        _number(view.shares[names.logits], z),
    )
    parts = {f"share {k}": v for k, v in given.components(shares).items()}
    out = {"lira-shares": given.lira(shares.logits)}
    if names.hidden in view.opened:
        opened = _opened(
            given.net, _number(view.opened[names.features], f), _number(view.opened[names.hidden], h)
        )
        parts |= {f"opened {k}": v for k, v in given.components(opened).items() if k != "label"}
        out["lira-openings"] = given.lira(opened.logits)
    out["whitebox"] = given.whitebox(parts)
    seen = clear(given, view.guess.reshape(given.pictures.x.shape))
    out |= {"whitebox-ingest": seen["whitebox"], "lira-ingest": seen["lira"]}
    out["messages"] = given.whitebox(
        {"messages": view.messages, "label": np.eye(10)[given.pictures.y].astype(np.float32)}
    )
    out["timing"] = given.whitebox({"times": np.log(view.times), "sizes": view.sizes.astype(np.float32)})
    return out


def _number(share: np.ndarray, scale: int) -> np.ndarray:
    """A ring element read as the number it would be, were it the value itself."""
    return share.astype(np.uint32).view(np.int32).astype(np.float32) / np.float32(2.0**scale)


def _opened(net: Target, features: np.ndarray, hidden: np.ndarray) -> Inner:
    with torch.no_grad():
        return Inner(features, hidden, net.fc2(torch.from_numpy(hidden)).numpy())
