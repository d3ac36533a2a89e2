"""Models loaded as programs: plan, weights and linear side, kept while they are served."""

from __future__ import annotations

from blindsight.cloud.models import Registry, Version
from blindsight.cloud.own_key import concealed_side
from blindsight.nn.linear import CloudSide
from blindsight.nn.network import Network
from blindsight.nn.shares import ModelShare
from blindsight.offline.make import LinearSide
from blindsight.service.engine import Program


class Programs:
    """Loads a version once; before it loads another, it lets go of those that are no longer served. One object a
    thread.
    """

    def __init__(self, threads: int, registry: Registry) -> None:
        self._threads, self._registry = threads, registry
        self._loaded: dict[bytes, Program] = {}

    def __call__(self, version: Version) -> Program:
        """The program of an installed version."""
        if version.id not in self._loaded:
            served = {v.id for versions in self._registry.serving().values() for v in versions.values()}
            self._loaded = {name: program for name, program in self._loaded.items() if name in served}
            model = version.load()
            if isinstance(model, ModelShare):
                network = Network(model.plan, model.tensors, self._threads)
                linear: LinearSide = concealed_side(model.plan, model.tensors, self._threads)
            else:
                network = Network(model.plan, model.ints, self._threads)
                linear = CloudSide(model.plan, model.ints, threads=self._threads)
            self._loaded[version.id] = Program(version.name, version.id, network, linear)
        return self._loaded[version.id]
