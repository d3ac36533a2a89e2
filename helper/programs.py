"""Plans as programs: network and key-owner side of the linear layers, kept while they are served."""

from __future__ import annotations

from blindsight.helper.linear import helper_side
from blindsight.nn.network import Network
from blindsight.nn.plan import Plan
from blindsight.service.engine import Program

KEPT = 64


class Programs:
    """Builds the program of a plan and a weights version once. One object a connection."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._made: dict[tuple[bytes, bytes], Program] = {}

    def __call__(self, plan: Plan, version: bytes) -> Program:
        """The program; versions are opaque and only keep material of different weights apart."""
        key = (plan.hash, version)
        if key not in self._made:
            while len(self._made) >= KEPT:
                self._made.pop(next(iter(self._made)))
            self._made[key] = Program(plan.name, version, Network(plan), helper_side(plan, self._threads))
        return self._made[key]
