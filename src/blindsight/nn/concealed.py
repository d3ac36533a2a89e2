"""Linear layers of a concealed model: the weights too are shared between the servers (DESIGN section 4,
`concealed`).

W = W_C + W_H and r = r_C + r_H mod 2^32, weight shares uniform once for the model, mask shares uniform and
fresh for every tensor and inference. Online x - r is opened to both; each multiplies it with its weight
share and adds its share of

    W*r = W_C*r_C + W_H*r_H + W_C*r_H + W_H*r_C,

made offline: the first two locally, the cross terms by the protocol of `nn.linear` once in each direction,
in the ring for products of two 32-bit numbers. Each party encrypts its own mask share under a layer key of
its own, made for the batch and wiped.

What travels is rounded as far as the error allows (`share_error`): the two shares of an accumulator miss it by about as
much as those of a cloud-owned layer do. docs/decisions/concealed.md has the budget.

Adversary: either server, semi-honest. It knows its own weight share, which is uniform; of the other's it
sees masked answers (`he.linear`), simulatable without them; of x it sees x - r, uniform. Neither learns a
weight, however many inferences run. Source: Mohassel, Zhang, "SecureML", IEEE S&P 2017, section 4.1
(products of shared values by two cross terms).
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from blindsight.channel import Channel
from blindsight.fixed.rng import Rng
from blindsight.he.error import TAIL, pair_error
from blindsight.nn.linear import CloudSide, HelperSide, MakeKey, online
from blindsight.nn.ops import Add, Concat, PlanError, ReducedOp, SumPool, WeightedOp
from blindsight.nn.plan import Plan
from blindsight.nn.planner import Costs, choose
from blindsight.nn.tiles import Conv
from blindsight.params import CONCEALED

BATCHES = (1, 2, 4, 8, 16)  # whose cuts stand for all
SLACK = 1.2  # of the norm, for the cuts of other batches


@lru_cache(maxsize=4096)
def share_error(conv: Conv) -> float:
    """E of a concealed layer in units of its accumulator, both cross terms: a bound for every share of weights.

    Weight shares are uniform, w / 2^31 of mean square 1/3 and of deviation 0.3 about it; n of them have a norm of at most
    2^31 sqrt(n/3 + 9 0.3 sqrt(n)) but for 2^-60. Every answer is reached by the weights of all channels packed into it.
    """
    taps = conv.channels // conv.groups * math.prod(conv.kernel)
    n = taps * max(choose(conv, batch, Costs.of(CONCEALED)).ob for batch in BATCHES)
    norm = SLACK * 2.0**31 * math.sqrt(n / 3 + TAIL * 0.3 * math.sqrt(n))
    return pair_error(CONCEALED, taps * 2.0**31, norm)


def admit(plan: Plan) -> None:
    """Raise PlanError unless the shares' errors stay below 1/16 of a unit after every truncation: E <= 2^(f-4).

    What the compiler makes fits (it reckons with `share_error`); a plan of an older one may not.
    """
    errors: dict[str, float] = {}
    for op in plan:
        own = [errors[name] for name in op.inputs]
        if isinstance(op, WeightedOp):
            error = share_error(Conv.of(op, plan.op(op.inputs[0]).shape))
        elif isinstance(op, Add):
            error = sum(e * 2.0**s for e, s in zip(own, op.shift, strict=True))
        elif isinstance(op, Concat):
            error = max(e * 2.0**s for e, s in zip(own, op.shift, strict=True))
        elif isinstance(op, SumPool):
            error = own[0] * math.prod(op.kernel) * op.factor
        elif isinstance(op, ReducedOp):
            if own[0] > 2.0 ** (op.f - 4):
                raise PlanError(
                    f"operation {op.out!r}: shares of its input may miss by {own[0]:.1f} in a concealed model, and "
                    f"f = {op.f} allows {2.0 ** (op.f - 4):g}: compile the model again, then split it"
                )
            error = 0.0
        else:
            error = own[0] if own else 0.0
        errors[op.out] = error


def online_wide(op: WeightedOp, weight: np.ndarray, d: np.ndarray, threads: int = 1) -> np.ndarray:
    """`online` for a 32-bit weight share: W*d mod 2^32, two passes of 16-bit weights.

    Args:
        weight: uint32 of `op.weight_shape`.
        d: uint32 of the input's shape, or with a batch axis before it.
    """
    low = weight.astype(np.uint16).view(np.int16)
    high = ((weight + np.uint32(0x8000)) >> np.uint32(16)).astype(np.uint16).view(np.int16)
    return online(op, low, d, threads) + (online(op, high, d, threads) << np.uint32(16))


class ConcealedSide:
    """Either party's half of the linear layers of a concealed model (`offline.make.LinearSide`).

    Args:
        weights: tensor name -> uint32 share of the weights.
        make_key: makes a layer key from a ring and the peer's seed of a_pk: `he.secret.linear.LayerKey`.
        rng: where the seeds of keys and answers come from.
    """

    def __init__(
        self,
        plan: Plan,
        weights: Mapping[str, np.ndarray],
        make_key: MakeKey,
        rng: Rng | None = None,
        threads: int = 1,
    ):
        self._plan, self._weights, self._threads = plan, weights, threads
        self._evaluates = CloudSide(
            plan, {name: w.view(np.int32) for name, w in weights.items()}, rng, threads
        )
        self._owns = HelperSide(plan, make_key)

    def batch(
        self, channel: Channel, ops: Sequence[WeightedOp], batch: int, masks: dict[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """This party's shares of W*r: op output -> uint32 [batch, size].

        Args:
            masks: tensor name -> this party's share of r, uint32 [batch, size], uniform and fresh.
        """
        if masks is None:
            raise ValueError("in concealed mode both parties need masks")
        cross = []
        for evaluates in (channel.party == 0, channel.party == 1):
            if evaluates:
                cross.append(self._evaluates.batch(channel, ops, batch))
            else:
                cross.append(self._owns.batch(channel, ops, batch, masks))
        out = {}
        for op in ops:
            r = masks[op.inputs[0]].reshape(batch, *self._plan.op(op.inputs[0]).shape)
            own = online_wide(op, self._weights[op.weight], r, self._threads).reshape(batch, -1)
            out[op.out] = own + cross[0][op.out] + cross[1][op.out]
        return out
