"""Plans as programs: network and key-owner side of the linear layers, kept while they are served."""

from __future__ import annotations

from blindsight.helper.linear import concealed_side, helper_side
from blindsight.helper.plans import Plans
from blindsight.nn.network import Network
from blindsight.nn.plan import Plan
from blindsight.nn.shares import ModelShare
from blindsight.service.engine import Program, split_version
from blindsight.wire.jobs import Refused
from blindsight.wire.result import FailureCode

KEPT = 64


class Programs:
    """Builds the program of a plan and a weights version once. One object a connection."""

    def __init__(self, threads: int, plans: Plans) -> None:
        self._threads, self._plans = threads, plans
        self._made: dict[tuple[bytes, bytes], Program] = {}

    def __call__(self, plan: Plan, version: bytes) -> Program:
        """The program. Versions are opaque where the cloud owns the weights, and only keep material of
        different weights apart; of a concealed model they name the share. Raises `Refused` where the helper
        has no such share.
        """
        key = (plan.hash, version)
        if key not in self._made:
            while len(self._made) >= KEPT:
                self._made.pop(next(iter(self._made)))
            self._made[key] = self._make(plan, version)
        return self._made[key]

    def _make(self, plan: Plan, version: bytes) -> Program:
        if plan.deployment != "concealed":
            return Program(plan.name, version, Network(plan), helper_side(plan, self._threads))
        path = self._plans.share(version)
        if not path.is_file():
            raise Refused(FailureCode.MODEL, f"the helper has no share of this split of {plan.name}")
        share = ModelShare.load(path, 1)
        if share.plan.hash != plan.hash or split_version(share.split) != version:
            raise Refused(FailureCode.MODEL, f"the helper's share of {plan.name} is of another plan or split")
        network = Network(plan, share.tensors, self._threads)
        return Program(plan.name, version, network, concealed_side(plan, share.tensors, self._threads))
