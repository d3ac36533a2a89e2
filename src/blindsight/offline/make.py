"""Making material: the helper's masks, the homomorphic linear layers, the correlations, for a batch of inferences at once.

In concealed mode both parties hold masks, r = r_C + r_H (`nn.concealed`).

Adversary: either server, semi-honest. Masks are uniform and fresh for every tensor and inference; the linear sides take a fresh key for
every call (`LinearSide`). A batch that fails half-way is dropped whole at both parties.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from blindsight.channel import Channel
from blindsight.fixed.rng import Rng, SystemRng, uniform_u32
from blindsight.nn.network import Network
from blindsight.nn.ops import WeightedOp
from blindsight.offline.slot import Layout, Slot, batch_draw, split_draw
from blindsight.ot.correlations import Draw

MAX_BATCH = 16  # inferences a linear-layer key may serve (DESIGN section 4)
MATERIAL_BYTES = 2 << 30  # of a batch that is held in memory whole (`fitting`)


class Source(Protocol):
    """Makes many draws at once, in order, together with the peer."""

    def fill(self, draws: Sequence[Draw]) -> list[tuple[np.ndarray, ...]]: ...


class LinearSide(Protocol):
    """One party's half of the homomorphic linear layers. `cloud.linear` has the weights, `helper.linear` the key."""

    def batch(
        self, channel: Channel, ops: Sequence[WeightedOp], batch: int, masks: dict[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """Shares of W*r of every op, under a key made for this call and wiped at its end.

        Args:
            masks: tensor name -> r, `uint32` [batch, size]; None where this party has none (`holds_masks`).

        Returns:
            op output name -> `uint32` [batch, size].
        """
        ...


def holds_masks(network: Network, party: int) -> bool:
    """Whether this party draws masks: the helper always, the cloud where the weights are shared."""
    return party == 1 or network.plan.deployment == "concealed"


def layout(network: Network, party: int, ingest: Sequence[Draw] = ()) -> Layout:
    """The sizes of this party's slots: the network's, after the correlations of the ingest."""
    masks = network.masks if holds_masks(network, party) else {}
    return Layout(party, masks, network.linear, (*ingest, *network.draws))


def fitting(network: Network, ingest: Sequence[Draw] = ()) -> int:
    """How many inferences' material to make together, 1 to 16: what fits MATERIAL_BYTES at the party that holds more. Public."""
    most = max(layout(network, party, ingest).nbytes for party in (0, 1))
    return max(1, min(MAX_BATCH, MATERIAL_BYTES // most))


def make_batch(
    channel: Channel,
    network: Network,
    linear: LinearSide,
    source: Source,
    batch: int,
    first: int = -1,
    ingest: Sequence[Draw] = (),
    rng: Rng | None = None,
) -> list[Slot]:
    """Make this party's half of `batch` slots, together with the peer, which calls it with the same numbers.

    Args:
        source: an interactive source on this channel (`ot.generate.Generator`).
        first: index of the first slot; -1 for material made on demand (every slot then has index -1).
        ingest: draws consumed before the network's (they depend on the ingest mode).
    """
    if not 1 <= batch <= MAX_BATCH:
        raise ValueError(f"a batch of material serves 1 to {MAX_BATCH} inferences, not {batch}")
    masks = None
    if holds_masks(network, channel.party):
        random = rng or SystemRng()
        masks = {name: uniform_u32(random, (batch, size)) for name, size in network.masks.items()}
    shares = linear.batch(channel, network.plan.weighted, batch, masks)
    draws = (*ingest, *network.draws)
    made = source.fill([batch_draw(d, batch) for d in draws])
    split = []
    for i, d in enumerate(draws):
        split.append((d, split_draw(d, batch, channel.party, made[i])))
        made[i] = ()  # freed as we go: the whole is never held twice
    return [
        Slot(
            index=first + b if first >= 0 else -1,
            masks={name: r[b] for name, r in masks.items()} if masks else {},
            linear={name: s[b].reshape(-1) for name, s in shares.items()},
            draws=[(d, pieces[b]) for d, pieces in split],
        )
        for b in range(batch)
    ]
