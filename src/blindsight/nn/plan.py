"""The public plan: what both servers know of a network (docs/model-format.md).

It holds layer kinds, shapes, scales, bit widths and the reveal mode; of the weights it tells no more than the
scales, shifts and bit widths that the compiler chose. Canonical JSON (sorted keys, no spaces, ASCII); its
SHA-256 is the plan hash that both servers, the manifest and the result are bound to.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .chain import checked, require
from .ops import (
    KINDS,
    Add,
    Clip,
    Concat,
    Conv2d,
    Input,
    LeakyRelu,
    Linear,
    Lut,
    MaxPool,
    Op,
    Output,
    Permute,
    PlanError,
    ReducedOp,
    Relu,
    Reshape,
    Slice,
    SumPool,
    Trunc,
    WeightedOp,
    op_from_json,
    op_to_json,
    smooth_table,
)

__all__ = [
    "KINDS",
    "Add",
    "Clip",
    "Concat",
    "Conv2d",
    "Input",
    "LeakyRelu",
    "Linear",
    "Lut",
    "MaxPool",
    "Op",
    "Output",
    "Permute",
    "Plan",
    "PlanError",
    "ReducedOp",
    "Relu",
    "Reshape",
    "Reveal",
    "Slice",
    "SumPool",
    "Trunc",
    "WeightedOp",
    "canonical",
    "load_plan",
    "smooth_table",
]

FORMAT, VERSION = "blindsight-plan", 1
PIXEL_FORMATS = {"gray8": 1, "rgb888": 3}
REVEALS = ("top1", "topk", "logits", "probabilities")
DEPLOYMENTS = ("cloud-owned", "concealed")
PROBABILITY_SCALE = 14  # of probabilities, by F_Softmax
MAX_BYTES, MAX_OPS = 1 << 24, 4096
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Reveal:
    """What the device learns: mode `top1`, `topk` (k indices), `logits` or `probabilities` (k = all classes)."""

    mode: str = "top1"
    k: int = 1


@dataclass(frozen=True)
class Plan:
    """A checked plan: constructing one (here, or with `from_json`) raises PlanError unless everything fits."""

    name: str
    height: int
    width: int
    channels: int
    pixel_format: str
    labels: tuple[str, ...]
    reveal: Reveal
    ops: tuple[Op, ...]
    deployment: str = "cloud-owned"

    def __post_init__(self) -> None:
        object.__setattr__(self, "ops", checked(self.ops))
        require(
            _NAME.fullmatch(self.name) is not None, f"name {self.name!r}: use letters, digits, '.', '_', '-'"
        )
        require(self.pixel_format in PIXEL_FORMATS, f"pixel_format must be one of {', '.join(PIXEL_FORMATS)}")
        require(
            PIXEL_FORMATS[self.pixel_format] == self.channels,
            f"{self.pixel_format} has not {self.channels} channels",
        )
        require(
            self.ops[0].shape == (self.channels, self.height, self.width),
            "the input operation's shape is not input's",
        )
        require(
            not self.labels or len(self.labels) == self.classes,
            f"{len(self.labels)} labels for {self.classes} classes",
        )
        require(self.reveal.mode in REVEALS, f"reveal mode must be one of {', '.join(REVEALS)}")
        limits = {"top1": (1, 1), "topk": (1, self.classes)}.get(
            self.reveal.mode, (self.classes, self.classes)
        )
        require(
            limits[0] <= self.reveal.k <= limits[1],
            f"reveal k = {self.reveal.k} does not fit {self.reveal.mode}",
        )
        require(
            self.reveal.mode != "probabilities"
            or (2 <= self.classes <= 4096 and 6 <= self.output_scale <= 26),
            "probabilities need 2 to 4096 logits of scale 6 to 26",
        )
        require(self.deployment in DEPLOYMENTS, f"deployment must be one of {', '.join(DEPLOYMENTS)}")

    @property
    def classes(self) -> int:
        """Number of logits."""
        return self.ops[-1].size

    @property
    def output_scale(self) -> int:
        """Scale of the logits."""
        return self.ops[-1].scale

    @property
    def result_scale(self) -> int:
        """Scale of the revealed numbers: the logits', or the probabilities'; 0 for class indices."""
        return {"logits": self.output_scale, "probabilities": PROBABILITY_SCALE}.get(self.reveal.mode, 0)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the shared pixels."""
        return self.channels, self.height, self.width

    @property
    def weighted(self) -> tuple[WeightedOp, ...]:
        """The operations that hold weights, in order."""
        return tuple(op for op in self.ops if isinstance(op, WeightedOp))

    def op(self, name: str) -> Op:
        """The operation that writes tensor `name`."""
        return next(op for op in self.ops if op.out == name)

    def sources(self, op: Op) -> tuple[Op, ...]:
        """The operations that wrote the inputs of `op`."""
        return tuple(self.op(name) for name in op.inputs)

    def consumers(self, name: str) -> tuple[Op, ...]:
        """The operations that read tensor `name`, in order."""
        return tuple(op for op in self.ops if name in op.inputs)

    def __iter__(self) -> Iterator[Op]:
        return iter(self.ops)

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "input": {
                "height": self.height,
                "width": self.width,
                "channels": self.channels,
                "pixel_format": self.pixel_format,
            },
            "labels": list(self.labels),
            "reveal": {"mode": self.reveal.mode, "k": self.reveal.k},
            "output_scale": self.output_scale,
            "deployment": self.deployment,
            "ops": [op_to_json(op) for op in self.ops],
        }

    def to_json(self) -> str:
        """Canonical JSON."""
        return canonical(self.to_dict())

    @property
    def hash(self) -> bytes:
        """The plan hash: SHA-256 of the canonical JSON, 32 bytes."""
        return hashlib.sha256(self.to_json().encode("ascii")).digest()

    @staticmethod
    def from_json(text: str | bytes) -> Plan:
        """Parse and check a plan. Field order and spaces may differ from canonical; everything else is
        strict.
        """
        item = _parse(text)
        top = {"format", "version", "name", "input", "labels", "reveal", "output_scale", "deployment", "ops"}
        require(
            isinstance(item, dict) and item.get("format") == FORMAT, f"not a plan: `format` is not {FORMAT!r}"
        )
        require(
            item.get("version") == VERSION,
            f"plan version {item.get('version')!r}: this program reads {VERSION}",
        )
        require(set(item) == top, f"missing or unknown fields {sorted(set(item) ^ top)}")
        shape, reveal, labels, ops = item["input"], item["reveal"], item["labels"], item["ops"]
        require(
            isinstance(shape, dict) and set(shape) == {"height", "width", "channels", "pixel_format"},
            "`input` must hold height, width, channels and pixel_format",
        )
        require(isinstance(reveal, dict) and set(reveal) == {"mode", "k"}, "`reveal` must hold mode and k")
        numbers = (shape["height"], shape["width"], shape["channels"], reveal["k"], item["output_scale"])
        require(
            all(type(v) is int and abs(v) < 1 << 16 for v in numbers),
            "sizes, k and output_scale must be integers",
        )
        words = (item["name"], item["deployment"], shape["pixel_format"], reveal["mode"])
        require(all(type(v) is str for v in words), "name, deployment, pixel_format and mode must be strings")
        require(
            isinstance(labels, list) and all(type(v) is str for v in labels),
            "`labels` must be a list of strings",
        )
        require(isinstance(ops, list) and 2 <= len(ops) <= MAX_OPS, f"`ops` must be a list of 2 to {MAX_OPS}")
        plan = Plan(
            name=item["name"],
            height=shape["height"],
            width=shape["width"],
            channels=shape["channels"],
            pixel_format=shape["pixel_format"],
            labels=tuple(labels),
            reveal=Reveal(reveal["mode"], reveal["k"]),
            ops=tuple(op_from_json(o) for o in ops),
            deployment=item["deployment"],
        )
        require(item["output_scale"] == plan.output_scale, "output_scale is not the output operation's scale")
        return plan


def canonical(item: Any) -> str:
    """Canonical JSON: keys sorted, no spaces, ASCII, no NaN."""
    return json.dumps(item, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def load_plan(path: str | Path) -> Plan:
    """Read M.plan.json, as the helper does: a file that holds weights is refused unread."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PlanError(
            f"{path}: {error.strerror or error}: pass the M.plan.json that `blindsight compile` wrote"
        ) from None
    if data[:1] != b"{":
        what = "holds weights" if path.suffix == ".bsm" or data[8:9] == b"{" else "is no JSON"
        raise PlanError(
            f"{path} {what}: the plan is the M.plan.json beside the model, give only that to the helper"
        )
    try:
        return Plan.from_json(data)
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from None


def _parse(text: str | bytes) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        require(len({k for k, _ in items}) == len(items), "the same key stands twice in one object")
        return dict(items)

    def constant(name: str) -> Any:
        raise PlanError(f"not a plan: {name} is no number of ours")

    require(len(text) <= MAX_BYTES, f"a plan is at most {MAX_BYTES} bytes")
    try:
        return json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        if isinstance(error, PlanError):
            raise
        raise PlanError(f"not a plan: no JSON ({error})") from None
