"""The helper's half of the homomorphic linear layers, with layer keys of its own.

Holds: one `LayerKey` a ring and batch, made when the batch begins and wiped when it ends. Security:
`he.secret.linear`, `nn.linear`.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np

from blindsight.he.secret.linear import LayerKey
from blindsight.nn.concealed import ConcealedSide
from blindsight.nn.linear import HelperSide
from blindsight.nn.plan import Plan


def helper_side(plan: Plan, threads: int = 1) -> HelperSide:
    """The helper's `LinearSide` of a plan, its kernels on `threads` threads."""
    return HelperSide(plan, partial(LayerKey, threads=threads))


def concealed_side(plan: Plan, shares: Mapping[str, np.ndarray], threads: int = 1) -> ConcealedSide:
    """The helper's `LinearSide` of a concealed plan, from its weight shares."""
    return ConcealedSide(plan, shares, partial(LayerKey, threads=threads), threads=threads)
