"""One step a kind of operation: the correlations it consumes and what it does to this party's share.

Shares are flat-compatible `uint32` arrays of the operation's shape, value = cloud + helper mod 2^32. Local steps touch only the own share;
the others name their functionality. To add an operation: write its step and list it in `STEPS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from blindsight.channel import Channel
from blindsight.mpc.argmax import ArgMax, TopK
from blindsight.mpc.clip import Clip as SecureClip
from blindsight.mpc.maxpool import MaxPool as SecureMaxPool
from blindsight.mpc.relu import ReLU
from blindsight.mpc.session import Session
from blindsight.mpc.smooth import LeakyReLU
from blindsight.mpc.softmax import Softmax
from blindsight.mpc.trunc import TruncateExtend
from blindsight.nn import kernels, linear
from blindsight.nn.concealed import online_wide
from blindsight.nn.geometry import patches, window_indices
from blindsight.nn.ops import (
    Add,
    Clip,
    Concat,
    Input,
    LeakyRelu,
    Lut,
    MaxPool,
    Op,
    Output,
    Permute,
    PlanError,
    Relu,
    Slice,
    SumPool,
    Trunc,
    WeightedOp,
)
from blindsight.nn.plan import PROBABILITY_SCALE, Plan
from blindsight.ot.correlations import Correlations, Draw


class Material(Protocol):
    """One party's half of the material of one inference (`offline.slot.Slot`)."""

    masks: dict[str, np.ndarray]
    linear: dict[str, np.ndarray]


@dataclass
class Run:
    """The state of one inference at one party; dropped when it ends."""

    channel: Channel
    correlations: Correlations
    material: Material
    weights: Mapping[str, np.ndarray] | None
    threads: int
    tensors: dict[str, np.ndarray]
    opened: dict[str, np.ndarray]
    concealed: bool = False

    @property
    def session(self) -> Session:
        return Session(self.channel, self.correlations)

    def rebase(self, name: str) -> np.ndarray | None:
        """x - r of the tensor `name`, at the cloud, and in concealed mode at the helper; else None. The first call
        sends, the r is popped: used once.
        """
        if name not in self.opened:
            x = self.tensors[name]
            if self.concealed:
                own = x.reshape(-1) - self.material.masks.pop(name)
                other = self.channel.exchange(own, 4 * x.size).view(np.uint32)
                self.opened[name] = (own + other).reshape(x.shape)
            elif self.channel.party == 1:
                r = self.material.masks.pop(name)
                self.channel.send(x.reshape(-1) - r)
                self.opened[name] = np.empty(0, np.uint32)
            else:
                other = self.channel.recv(4 * x.size).view(np.uint32)
                self.opened[name] = (x.reshape(-1) + other).reshape(x.shape)
        return self.opened[name] if self.concealed or self.channel.party == 0 else None


class Step(Protocol):
    """What a party does for one operation."""

    def draws(self) -> list[Draw]: ...
    def run(self, run: Run) -> np.ndarray: ...


class Functionality(Protocol):
    """A functionality of `mpc` on a flat share."""

    def draws(self, n: int) -> list[Draw]: ...
    def run(self, session: Session, x: np.ndarray) -> np.ndarray: ...


class Local:
    """A step without interaction; subclasses give `apply` on the own shares of the inputs."""

    def __init__(self, op: Op, plan: Plan) -> None:
        self.op, self.sources = op, plan.sources(op)

    def draws(self) -> list[Draw]:
        return []

    def run(self, run: Run) -> np.ndarray:
        return self.apply([run.tensors[name] for name in self.op.inputs]).reshape(self.op.shape)

    def apply(self, x: list[np.ndarray]) -> np.ndarray:
        raise NotImplementedError


class AddStep(Local):
    op: Add

    def apply(self, x: list[np.ndarray]) -> np.ndarray:
        total = np.zeros(self.op.shape, np.uint32)
        for share, shift in zip(x, self.op.shift, strict=True):
            total += share << np.uint32(shift)
        return total


class ConcatStep(Local):
    op: Concat

    def apply(self, x: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([s << np.uint32(k) for s, k in zip(x, self.op.shift, strict=True)])


class ReshapeStep(Local):
    def apply(self, x: list[np.ndarray]) -> np.ndarray:
        return x[0]


class SliceStep(Local):
    op: Slice

    def apply(self, x: list[np.ndarray]) -> np.ndarray:
        return kernels.slices(x[0][None], self.op.start, self.op.step, self.op.shape)


class PermuteStep(Local):
    op: Permute

    def apply(self, x: list[np.ndarray]) -> np.ndarray:
        return kernels.permute(x[0][None], self.op.view, self.op.axes, self.op.shape)


class SumPoolStep(Local):
    op: SumPool

    def apply(self, x: list[np.ndarray]) -> np.ndarray:
        windows = patches(x[0][None], self.op.kernel, self.op.stride, self.op.padding)[0]
        return windows.sum(axis=(-2, -1), dtype=np.uint32) * np.uint32(self.op.factor)


class WeightedStep:
    """conv2d and linear: W * (x - r) + bias in the clear at the cloud, W * r from the material at both.

    In concealed mode both do so, each with its share of weight and bias.
    """

    def __init__(self, op: WeightedOp, plan: Plan) -> None:
        self.op = op

    def draws(self) -> list[Draw]:
        return []

    def run(self, run: Run) -> np.ndarray:
        op = self.op
        d = run.rebase(op.inputs[0])
        share = run.material.linear.pop(op.out).reshape(op.shape)
        if d is None:
            return share
        if run.weights is None:
            raise PlanError(f"operation {op.out!r}: this party has no weights")
        bias = run.weights[op.bias].astype(np.int64).astype(np.uint32)
        if bias.ndim == 1 and len(op.shape) == 3:
            bias = bias[:, None, None]
        multiply = online_wide if run.concealed else linear.online
        return multiply(op, run.weights[op.weight], d, threads=run.threads) + share + bias


class SecureStep:
    """A step that is one functionality of `mpc` on the flattened input."""

    def __init__(self, op: Op, plan: Plan) -> None:
        self.op, source = op, plan.sources(op)[0]
        self.functionality = functionality(op, source)
        self.count = source.size

    def draws(self) -> list[Draw]:
        return self.functionality.draws(self.count)

    def run(self, run: Run) -> np.ndarray:
        x = run.tensors[self.op.inputs[0]].reshape(-1)
        return self.functionality.run(run.session, x).reshape(self.op.shape)


def functionality(op: Op, source: Op) -> Functionality:
    """The functionality that realises an operation on the output of `source`."""
    if isinstance(op, Relu):
        return ReLU(op.f, op.m)
    if isinstance(op, Trunc):
        return TruncateExtend(op.f, op.m)
    if isinstance(op, MaxPool):
        channels, height, width = source.shape
        windows = window_indices((channels, height, width), op.kernel, op.stride, op.padding)
        return SecureMaxPool(op.f, op.m, op.relu, windows)
    if isinstance(op, Clip):
        return SecureClip(op.f, op.m, op.low, op.high)
    if isinstance(op, LeakyRelu):
        return LeakyReLU(op.f, op.m, op.slope / 2.0**op.bits, op.bits)
    if isinstance(op, Lut):
        return op.table(source)
    raise PlanError(f"operation {op.out!r}: no protocol for {op.kind}; upgrade blindsight")


class OutputStep:
    """The reveal. `top1`, `topk`: shares of indices; `logits`: the shares of the logits as they are; `probabilities`:
    shares of their softmax. Each server follows its own copy of the plan.
    """

    def __init__(self, op: Output, plan: Plan) -> None:
        self.op, mode = op, plan.reveal.mode
        if mode == "top1":
            self.rank: ArgMax | TopK | Softmax | None = ArgMax(op.size)
        elif mode == "topk":
            self.rank = TopK(op.size, plan.reveal.k)
        elif mode == "logits":
            self.rank = None
        else:
            self.rank = Softmax(op.size, op.scale, PROBABILITY_SCALE)

    def draws(self) -> list[Draw]:
        return self.rank.draws(1) if self.rank else []

    def run(self, run: Run) -> np.ndarray:
        logits = run.tensors[self.op.inputs[0]].reshape(1, -1)
        return (self.rank.run(run.session, logits) if self.rank else logits).reshape(-1)


STEPS: dict[str, type] = {
    "conv2d": WeightedStep,
    "linear": WeightedStep,
    "add": AddStep,
    "concat": ConcatStep,
    "reshape": ReshapeStep,
    "slice": SliceStep,
    "permute": PermuteStep,
    "sum_pool": SumPoolStep,
    "relu": SecureStep,
    "trunc": SecureStep,
    "max_pool": SecureStep,
    "clip": SecureStep,
    "leaky_relu": SecureStep,
    "lut": SecureStep,
    "output": OutputStep,
}
assert Input.kind not in STEPS  # its share is what `Network.run` is given
