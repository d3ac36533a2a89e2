"""Linear layers of a concealed model: the weights too are shared between the servers (DESIGN section 4,
`concealed`).

W = W_C + W_H and r = r_C + r_H mod 2^32, weight shares uniform once for the model, mask shares uniform and
fresh for every tensor and inference. Online x - r is opened to both; each multiplies it with its weight
share and adds its share of

    W*r = W_C*r_C + W_H*r_H + W_C*r_H + W_H*r_C,

made offline: the first two locally, the cross terms by the protocol of `nn.linear` once in each direction,
in the ring for products of two 32-bit numbers. Each party encrypts its own mask share under a layer key of
its own, made for the batch and wiped.

Adversary: either server, semi-honest. It knows its own weight share, which is uniform; of the other's it
sees masked answers (`he.linear`), simulatable without them; of x it sees x - r, uniform. Neither learns a
weight, however many inferences run. Source: Mohassel, Zhang, "SecureML", IEEE S&P 2017, section 4.1
(products of shared values by two cross terms).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from blindsight.channel import Channel
from blindsight.fixed.rng import Rng
from blindsight.nn.linear import CloudSide, HelperSide, MakeKey, online
from blindsight.nn.ops import WeightedOp
from blindsight.nn.plan import Plan


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
