"""The cloud's half of the linear layers of a concealed model: here alone the cloud owns layer keys.

Each decrypts products of the cloud's own mask shares with the helper's weight share, masked by the helper; it opens
nothing of a picture. Made when a batch begins, wiped when it ends. Security: `nn.concealed`.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np

from blindsight.he.secret.linear import LayerKey
from blindsight.nn.concealed import ConcealedSide
from blindsight.nn.plan import Plan


def concealed_side(plan: Plan, shares: Mapping[str, np.ndarray], threads: int = 1) -> ConcealedSide:
    """The cloud's `LinearSide` of a concealed plan, from its weight shares."""
    return ConcealedSide(plan, shares, partial(LayerKey, threads=threads), threads=threads)
