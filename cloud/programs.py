"""Models loaded as programs: plan, weights and linear side, kept while they are served."""

from __future__ import annotations

from blindsight.cloud.models import Version
from blindsight.cloud.own_key import concealed_side
from blindsight.nn.linear import CloudSide
from blindsight.nn.network import Network
from blindsight.nn.shares import ModelShare
from blindsight.offline.make import LinearSide
from blindsight.service.engine import Program


class Programs:
    """Loads a version once. One object a thread."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._loaded: dict[bytes, Program] = {}

    def __call__(self, version: Version) -> Program:
        """The program of an installed version."""
        if version.id not in self._loaded:
            model = version.load()
            if isinstance(model, ModelShare):
                network = Network(model.plan, model.tensors, self._threads)
                linear: LinearSide = concealed_side(model.plan, model.tensors, self._threads)
            else:
                network = Network(model.plan, model.ints, self._threads)
                linear = CloudSide(model.plan, model.ints, threads=self._threads)
            self._loaded[version.id] = Program(version.name, version.id, network, linear)
        return self._loaded[version.id]
