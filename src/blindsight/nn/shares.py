"""Share files of a concealed model: the owner splits the weights, each server loads one share.

W = W_C + W_H mod 2^32 for every weight and bias, the helper's share uniform from the operating system, the cloud's the
difference; so each alone is uniform and independent of the weights. A share file is a safetensors file: metadata
`format` = `blindsight-share`, `version` = `1`, `party` = `cloud` or `helper`, `split` (32 hex digits, the same in both
files of one split), `plan` (canonical JSON, deployment `concealed`); tensors `share/<name>`, uint32 of the plan's shapes.

Adversary: either server, semi-honest, not colluding with the other; whoever holds both files has the model. The plan
(layer kinds, shapes, scales, bit widths) is public. Source: Beimel, "Secret-sharing schemes: a survey" (2011), section 2
(additive sharing); the use is SecureML's (IEEE S&P 2017, section 4.1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from blindsight.fixed.rng import Rng, SystemRng, uniform_u32

from ..errors import quoted
from .concealed import admit
from .model import MAX_BYTES, Model, read_metadata
from .plan import Plan, PlanError, WeightedOp

FORMAT, VERSION = "blindsight-share", "1"
PARTIES = ("cloud", "helper")
_SPLIT = re.compile(r"[0-9a-f]{32}")


@dataclass
class ModelShare:
    """One party's share of a model; made by `split` or `load`, checked against its plan.

    Attributes:
        plan: the public plan, deployment `concealed`.
        party: 0 cloud, 1 helper.
        split: 16 bytes in hex that tell the two shares of one split from those of another.
        tensors: weight or bias name -> uint32 share of the plan's shape.
    """

    plan: Plan
    party: int
    split: str
    tensors: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        if self.plan.deployment != "concealed":
            raise PlanError("a share of a model whose plan is not concealed: make shares with `model split`")
        if self.party not in (0, 1) or not _SPLIT.fullmatch(self.split):
            raise PlanError("the share's metadata is damaged: split the model again")
        wanted = {name: shape for op in self.plan.weighted for name, shape in _shapes(op)}
        have = {name: value.shape for name, value in self.tensors.items()}
        if wanted != have or any(v.dtype != np.uint32 for v in self.tensors.values()):
            raise PlanError("the share's tensors are not the plan's: split the model again")

    def save(self, path: str | Path) -> None:
        """Write the share; readable by its owner alone."""
        metadata = {
            "format": FORMAT,
            "version": VERSION,
            "party": PARTIES[self.party],
            "split": self.split,
            "plan": self.plan.to_json(),
        }
        path = Path(path)
        path.touch(mode=0o600)
        path.write_bytes(
            save({f"share/{n}": np.ascontiguousarray(v) for n, v in self.tensors.items()}, metadata)
        )

    @staticmethod
    def load(path: str | Path, party: int) -> ModelShare:
        """Read and check the share of `party`; PlanError is one line that names what is wrong."""
        path = Path(path)
        try:
            if path.stat().st_size > MAX_BYTES:
                raise PlanError(f"larger than {MAX_BYTES} bytes")
            share = ModelShare._parse(path.read_bytes())
        except OSError as error:
            raise PlanError(f"{path}: {error.strerror or error}") from None
        except PlanError as error:
            raise PlanError(f"{path}: {error}") from None
        if share.party != party:
            raise PlanError(f"{path}: the share of the {PARTIES[share.party]}, not of the {PARTIES[party]}")
        return share

    @staticmethod
    def _parse(data: bytes) -> ModelShare:
        metadata = read_metadata(data)
        if metadata.get("format") != FORMAT or set(metadata) != {
            "format",
            "version",
            "party",
            "split",
            "plan",
        }:
            raise PlanError("no share of a model: make shares with `blindsight model split`")
        if metadata["version"] != VERSION or metadata["party"] not in PARTIES:
            raise PlanError(f"share version {metadata['version']!r}, this program reads {VERSION}")
        try:
            tensors = load(data)
        except (SafetensorError, ValueError) as error:
            raise PlanError(f"truncated or altered share ({quoted(error)})") from None
        if not all(name.startswith("share/") for name in tensors):
            raise PlanError("tensors must be named share/...: split the model again")
        named = {name.removeprefix("share/"): value for name, value in tensors.items()}
        plan = Plan.from_json(metadata["plan"])
        return ModelShare(plan, PARTIES.index(metadata["party"]), metadata["split"], named)


def _shapes(op: WeightedOp) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return (op.weight, op.weight_shape), (op.bias, op.bias_shape)


def conceal(model: Model) -> Model:
    """The same model with a plan of deployment `concealed`; only that field of the plan differs."""
    return replace(model, plan=replace(model.plan, deployment="concealed"))


def split(model: Model, rng: Rng | None = None) -> tuple[ModelShare, ModelShare]:
    """Two fresh shares of the model's integer weights and biases, cloud's and helper's; each alone is uniform.

    Raises:
        PlanError: the plan has no room for the errors of a concealed model (`nn.concealed.admit`).
    """
    admit(model.plan)
    random, plan = rng or SystemRng(), conceal(model).plan
    name = random.bytes(16).hex()
    helper = {key: uniform_u32(random, value.shape) for key, value in model.ints.items()}
    cloud = {key: value.astype(np.int64).astype(np.uint32) - helper[key] for key, value in model.ints.items()}
    return ModelShare(plan, 0, name, cloud), ModelShare(plan, 1, name, helper)
