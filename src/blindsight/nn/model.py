"""Model files: `.bsm`, the plan with its weights and the float reference in one safetensors file.

Only the model's owner and the cloud open one; the helper loads the plan alone (`plan.load_plan`, which
refuses a file that holds weights). Nothing is unpickled; every tensor's dtype and shape is checked against
the plan.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ..errors import quoted
from . import compact
from .floatnet import FloatGraph
from .plan import Conv2d, Plan, PlanError, WeightedOp, canonical

FORMAT, VERSION = "blindsight-model", "1"
STORAGES = ("full", "compact")
MAX_BYTES = 1 << 31


@dataclass
class Model:
    """A checked model. `ints` maps the plan's weight names to int16 weights and its bias names to int32
    biases; `storage` is how the file holds them: `full`, with the float reference's own weights beside them, or
    `compact` (`nn.compact`), where `graph` is the network of the dequantised integers.
    """

    plan: Plan
    ints: dict[str, np.ndarray]
    graph: FloatGraph
    storage: str = "full"

    def __post_init__(self) -> None:
        check_ints(self.plan, self.ints)
        shape = self.graph.ops[0].shape
        if shape != self.plan.input_shape or self.graph.ops[-1].shape != (self.plan.classes,):
            raise PlanError("the float graph is of another network than the plan: compile the model again")

    def weight(self, op: WeightedOp) -> np.ndarray:
        """int16 weights of `op`, shape `op.weight_shape`."""
        return self.ints[op.weight]

    def bias(self, op: WeightedOp) -> np.ndarray:
        """int32 bias of `op` at the accumulator's scale, broadcastable to its output shape."""
        bias = self.ints[op.bias]
        return bias[:, None, None] if isinstance(op, Conv2d) and not op.bias_map else bias

    def save(self, path: str | Path) -> None:
        """Write M.bsm, and M.plan.json beside it."""
        path = Path(path)
        if path.suffix != ".bsm":
            raise ValueError(f"{path}: a model file is named M.bsm")
        tensors = {f"int/{name}": value for name, value in self.ints.items()}
        metadata = {
            "format": FORMAT,
            "version": VERSION,
            "plan": self.plan.to_json(),
            "float": canonical(self.graph.to_json()),
        }
        if self.storage == "compact":
            metadata["storage"] = self.storage
            for op in self.plan.weighted:
                mantissa, shift = compact.pack(self.ints[op.weight])
                tensors |= {f"int/{op.weight}": mantissa, f"shift/{op.weight}": shift}
        else:
            for op in self.plan.weighted:
                if op.weight_bits <= 8:
                    tensors[f"int/{op.weight}"] = self.ints[op.weight].astype(np.int8)
            for name, value in self.graph.arrays.items():
                tensors[f"float/{name}"] = np.ascontiguousarray(value, np.float32)
        path.write_bytes(save(tensors, metadata))
        plan_path(path).write_text(self.plan.to_json(), encoding="ascii")

    @staticmethod
    def load(path: str | Path) -> Model:
        """Read and check M.bsm; PlanError is one line that names what is wrong."""
        path = Path(path)
        try:
            size = path.stat().st_size
            if size > MAX_BYTES:
                raise PlanError(f"{path}: larger than {MAX_BYTES} bytes")
            return Model.from_bytes(path.read_bytes())
        except OSError as error:
            raise PlanError(f"{path}: {error.strerror or error}") from None
        except PlanError as error:
            raise PlanError(f"{path}: {error}") from None

    @staticmethod
    def from_bytes(data: bytes) -> Model:
        """As `load`, from the file's bytes."""
        metadata = read_metadata(data)
        if metadata.get("format") != FORMAT:
            raise PlanError("a safetensors file, but no Blindsight model: make one with `blindsight compile`")
        if metadata.get("version") != VERSION:
            raise PlanError(f"model version {metadata.get('version')!r}, this program reads {VERSION}")
        storage = metadata.pop("storage", "full")
        if set(metadata) != {"format", "version", "plan", "float"} or storage not in STORAGES:
            raise PlanError("the model's metadata is damaged: compile the model again")
        plan = Plan.from_json(metadata["plan"])
        if plan.to_json() != metadata["plan"]:
            raise PlanError("the plan in the model is not canonical: compile the model again")
        try:
            tensors = load(data)
            graph_json = json.loads(metadata["float"])
        except (SafetensorError, ValueError, RecursionError) as error:
            raise PlanError(f"truncated or altered model file ({quoted(error)})") from None
        parts: dict[str, dict[str, np.ndarray]] = {"int": {}, "float": {}, "shift": {}}
        for name, value in tensors.items():
            kind, _, rest = name.partition("/")
            if kind not in parts:
                raise PlanError(
                    "tensors must be named int/..., shift/... or float/...: compile the model again"
                )
            parts[kind][rest] = value
        ints, floats, shifts = parts["int"], parts["float"], parts["shift"]
        if storage == "compact":
            return Model._compact(plan, ints, shifts, graph_json, floats)
        for op in plan.weighted:
            if op.weight_bits <= 8 and ints.get(op.weight, np.zeros(0)).dtype == np.int8:
                ints[op.weight] = ints[op.weight].astype(np.int16)
        _check_floats(floats)
        graph = FloatGraph.from_json(graph_json, floats)
        used = {name for op in graph.ops for name in op.tensors.values()}
        if used != set(floats) or shifts:
            raise PlanError(f"tensors that nothing uses: {sorted({*floats, *shifts} - used)[:3]}")
        return Model(plan, ints, graph)

    @staticmethod
    def _compact(
        plan: Plan,
        ints: dict[str, np.ndarray],
        shifts: dict[str, np.ndarray],
        graph_json: Any,
        floats: Mapping[str, np.ndarray],
    ) -> Model:
        """The model of a file in compact storage."""
        if floats or set(shifts) != {op.weight for op in plan.weighted}:
            raise PlanError("a compact model holds mantissas and shifts alone: compile the model again")
        for name, shift in shifts.items():
            ints[name] = compact.unpack(ints.get(name, np.zeros(0)), shift)
        check_ints(plan, ints)
        graph = FloatGraph.from_json(graph_json, compact.Dequantised(plan, ints))
        return Model(plan, ints, graph, "compact")


def plan_path(model: str | Path) -> Path:
    """M.plan.json of M.bsm."""
    model = Path(model)
    return model.with_name(model.name.removesuffix(".bsm") + ".plan.json")


def check_ints(plan: Plan, ints: Mapping[str, np.ndarray]) -> None:
    """Raise PlanError unless exactly the plan's weights and biases are there, of their dtype, shape and
    range.
    """
    wanted = {name for op in plan.weighted for name in (op.weight, op.bias)}
    if set(ints) != wanted:
        missing, extra = sorted(wanted - set(ints)), sorted(set(ints) - wanted)
        raise PlanError(
            f"tensors missing {missing[:3]}, not in the plan {extra[:3]}: compile the model again"
        )
    for op in plan.weighted:
        for name, dtype, shape in (
            (op.weight, np.int16, op.weight_shape),
            (op.bias, np.int32, op.bias_shape),
        ):
            value = ints[name]
            if value.dtype != dtype or value.shape != shape:
                raise PlanError(
                    f"tensor {name!r} is {value.dtype}{list(value.shape)}, the plan says "
                    f"{np.dtype(dtype)}{list(shape)}: compile the model again"
                )
        limit = (1 << (op.weight_bits - 1)) - 1
        weight = ints[op.weight]  # compared without a copy: it may hold 10^8 numbers
        if int(weight.max(initial=0)) > limit or int(weight.min(initial=0)) < -limit:
            raise PlanError(
                f"tensor {op.weight!r} exceeds its {op.weight_bits} bits: compile the model again"
            )
        if np.abs(ints[op.bias].astype(np.int64)).max(initial=0) >= 1 << 30:
            raise PlanError(f"tensor {op.bias!r} exceeds 2^30: compile the model again")


def read_metadata(data: bytes) -> dict[str, str]:
    """The metadata of a safetensors file; a pickle or a zip (PyTorch's own formats) is refused by name."""
    if data[8:9] != b"{":  # where a safetensors header begins; its length, before it, may begin with any byte
        if data[:2] == b"PK" or data[:1] == b"\x80":
            raise PlanError(
                "a pickled PyTorch file, which may run code: pass the M.bsm that `blindsight compile` wrote"
            )
        if data[:1] == b"{":
            raise PlanError("a plan, not a model: pass the M.bsm beside it")
    try:
        (length,) = struct.unpack_from("<Q", data)
        if length > min(len(data) - 8, 1 << 26):
            raise ValueError("its header is cut off")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
            raise ValueError("its metadata is damaged")
    except (struct.error, ValueError, RecursionError, AttributeError) as error:
        raise PlanError(f"no model file, or a truncated one ({quoted(error)})") from None
    return metadata


def _check_floats(floats: Mapping[str, np.ndarray]) -> None:
    for name, value in floats.items():
        if value.dtype != np.float32:
            raise PlanError(f"tensor float/{name} is {value.dtype}, not float32: compile the model again")
        if not np.isfinite(value).all():
            raise PlanError(
                f"tensor float/{name} holds a value that is no number: train or compile the model again"
            )
