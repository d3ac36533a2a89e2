"""A plan bound to one party: what it needs beforehand, and how it runs on shares.

Both parties build a `Network` from the same plan and call `run` with their share of the pixels and their half of a material slot; they walk
the operations in step. Linear operations re-base their input first (DESIGN section 4, "Online"): the helper sends x_H - r, the cloud adds
its share and holds x - r, which r, uniform and used once, hides perfectly; every linear reader of a tensor shares that opening.
In a concealed plan x - r is opened to both (`nn.concealed`).

Adversary: either server, semi-honest. In a linear operation the cloud sees x - r only and the helper nothing; non-linear operations are the
functionalities of `blindsight.mpc`, each with its own argument. Source: Delphi (USENIX Security 2020, section 4) for masks made offline;
Beaver (CRYPTO 1995) for opening a masked value.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from blindsight.channel import Channel
from blindsight.nn.ops import Op
from blindsight.nn.plan import Plan
from blindsight.nn.steps import STEPS, Material, Run, Step
from blindsight.ot.correlations import Correlations, Draw

Trace = Callable[[Op], AbstractContextManager[object]]
Watch = Callable[[Op, np.ndarray], None]


class Network:
    """One party's executor of a plan.

    Args:
        plan: the public plan; both parties must hold the same (they compare hashes at connection).
        weights: tensor name -> integer weights (`int16`) and biases (`int32`); the cloud's, None at the helper;
            in concealed mode either party's `uint32` shares of both.
        threads: threads of the plaintext integer layers.

    Attributes:
        draws: the correlations one inference consumes, in order, the same at both parties.
        masks: tensor name -> size, of the tensors that linear operations read: one r each.
        linear: name of a linear operation's output -> size.
    """

    def __init__(self, plan: Plan, weights: Mapping[str, np.ndarray] | None = None, threads: int = 1) -> None:
        self.plan, self._weights, self._threads = plan, weights, threads
        self._concealed = plan.deployment == "concealed"
        self._steps: list[tuple[Op, Step]] = [(op, STEPS[op.kind](op, plan)) for op in plan.ops[1:]]
        self.draws: tuple[Draw, ...] = tuple(d for _, step in self._steps for d in step.draws())
        self.masks = {
            name: plan.op(name).size for name in dict.fromkeys(op.inputs[0] for op in plan.weighted)
        }
        self.linear = {op.out: op.size for op in plan.weighted}
        self._last_use = {name: op.out for op in plan.ops for name in op.inputs}

    @property
    def result_count(self) -> int:
        """Ring elements in the result: 1 for `top1`, k for `topk`, the number of classes otherwise."""
        return self.plan.reveal.k

    def run(
        self,
        channel: Channel,
        correlations: Correlations,
        material: Material,
        pixels: np.ndarray,
        trace: Trace | None = None,
        watch: Watch | None = None,
    ) -> np.ndarray:
        """Run one inference on this party's share of the pixels.

        Args:
            correlations: draws in the order of `draws`, each used once.
            material: masks and linear shares; emptied as they are consumed.
            pixels: `uint32` share of the pixel values 0..255 in capture order (H, W, C), flat.
            trace: called with each operation; its context manager is held while the operation runs.
            watch: called with each operation and this party's share of its output (`uint32`), which it may only read.

        Returns:
            This party's share of the result, `uint32` [result_count]: indices, or logits at the plan's output scale.

        Raises:
            ChannelError: the peer failed; the slot stays burnt and the picture is started again with another.
        """
        plan = self.plan
        hwc = pixels.reshape(plan.height, plan.width, plan.channels)
        first = plan.ops[0]
        tensors = {first.out: np.ascontiguousarray(hwc.transpose(2, 0, 1))}
        run = Run(channel, correlations, material, self._weights, self._threads, tensors, {}, self._concealed)
        share = tensors[first.out]
        for op, step in self._steps:
            with trace(op) if trace else nullcontext():
                share = step.run(run)
            if watch:
                watch(op, share)
            for name in op.inputs:
                if self._last_use[name] == op.out:
                    run.tensors.pop(name, None)
                    run.opened.pop(name, None)
            run.tensors[op.out] = share
        return share
