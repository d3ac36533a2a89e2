"""The helper's half of the homomorphic linear layers, with layer keys of its own.

Holds: one `LayerKey` a ring and batch, made when the batch begins and wiped when it ends. Security:
`he.secret.linear`, `nn.linear`.
"""

from functools import partial

from blindsight.he.secret.linear import LayerKey
from blindsight.nn.linear import HelperSide
from blindsight.nn.plan import Plan


def helper_side(plan: Plan, threads: int = 1) -> HelperSide:
    """The helper's `LinearSide` of a plan, its kernels on `threads` threads."""
    return HelperSide(plan, partial(LayerKey, threads=threads))
