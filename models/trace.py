"""Front end of the compiler: a PyTorch module becomes a float graph (`blindsight.nn.floatnet`).

`torch.fx` traces the module in evaluation mode; where it cannot (control flow on values), `torch.export` is
tried. The nodes are then walked with shapes of a batch of two, so that code that computes shapes
(`x.view(x.size(0), -1)`) just runs. What a node means is in the tables of `tables`; anything that is not
there is refused by name.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from blindsight.errors import quoted
from blindsight.nn.floatnet import FloatGraph

from .builder import MONOTONIC_HEADS, Builder, CompileError, Sym, refuse
from .tables import FUNCTIONS, MODULES

MAX_NODES = 20000


@dataclass(frozen=True)
class Traced:
    """A float graph; `heads` are softmaxes at its end that were left out, `batch` what an exported graph insists on."""

    graph: FloatGraph
    heads: tuple[str, ...]
    batch: int


def trace(
    module: nn.Module,
    shape: tuple[int, int, int],
    mean: Sequence[float],
    std: Sequence[float],
    exported: bool = False,
) -> Traced:
    """The float graph of `module` on normalised pictures of (C, H, W) = shape; CompileError names what is
    refused.

    `exported` goes by torch.export at once: it sees writes in place that symbolic tracing takes for new values.
    The graph may still hold the operations `affine` and `spatial`, which `fold` removes where it can.
    """
    if len(mean) != shape[0] or len(std) != shape[0] or min(std) <= 0:
        raise CompileError(f"mean and std must have {shape[0]} values, std positive (one a channel)")
    if any(nn.parameter.is_lazy(p) for p in module.parameters()):
        raise CompileError(
            "the network has lazy layers without weights yet: call it once on a batch of pictures"
        )
    module = copy.deepcopy(module).eval().float().cpu()
    graph_module, batch = to_graph(module, shape, exported)
    builder = Builder(batch)
    source = builder.emit("input", (), (batch, *shape), name="input")
    result = walk(graph_module, builder, source)
    if result.shape != (batch, result.shape[-1]) or len(result.shape) != 2:
        raise CompileError(
            f"the network returns shape {['N', *result.shape[1:]]}, it must return logits [N, classes]: add a Flatten"
        )
    graph = FloatGraph(builder.ops, builder.arrays, tuple(map(float, mean)), tuple(map(float, std)))
    return Traced(graph, tuple(builder.heads), batch)


def to_graph(
    module: nn.Module, shape: tuple[int, int, int], exported: bool = False
) -> tuple[fx.GraphModule, int]:
    """The module as an fx graph, and the batch size its shapes were taken at."""
    if isinstance(module, fx.GraphModule):
        return module, _batch_of(module)
    why = ""
    if not exported:
        try:
            return fx.symbolic_trace(module), 2
        except Exception as error:  # fx raises whatever the module's own code raises on a proxy
            why = f"{type(error).__name__}: {str(error).splitlines()[0][:160]}; "
    try:
        with torch.no_grad():
            program = torch.export.export(module, (torch.zeros(2, *shape),))
        return program.module(check_guards=False), 2
    except Exception as error:
        raise CompileError(
            f"cannot trace {type(module).__name__} ({why}torch.export: {quoted(error)}): remove control flow that depends on values"
        ) from None


def _batch_of(module: fx.GraphModule) -> int:
    """Batch size of an exported graph's example input; 2 where the batch is dynamic or unknown."""
    for node in module.graph.nodes:
        if node.op == "placeholder" and isinstance(node.meta.get("val"), Tensor):
            size = node.meta["val"].shape[0]
            return int(size) if isinstance(size, int) else 2
    return 2


def walk(module: fx.GraphModule, builder: Builder, source: Sym) -> Sym:
    """Run the nodes: symbolic tensors through the tables, everything else as plain Python."""
    values: dict[fx.Node, Any] = {}
    modules = dict(module.named_modules())
    fed = False
    if len(module.graph.nodes) > MAX_NODES:
        raise CompileError(f"the network has more than {MAX_NODES} operations")
    for node in module.graph.nodes:
        args = fx.node.map_arg(node.args, lambda n: values[n])
        kwargs = fx.node.map_arg(node.kwargs, lambda n: values[n])
        builder.place = node.name
        if node.op == "placeholder":
            if fed and not node.args:
                raise CompileError(
                    f"the network takes a second input {node.name!r}: it may take one picture only"
                )
            values[node] = node.args[0] if fed else source
            fed = True
        elif node.op == "get_attr":
            values[node] = _attribute(module, str(node.target))
        elif node.op == "output":
            result = args[0]
            while isinstance(result, tuple | list) and len(result) == 1:
                result = result[0]
            if not isinstance(result, Sym):
                raise CompileError(
                    "the network must return one tensor of logits (not several, none or a dict)"
                )
            return result
        elif not _holds_symbol((args, kwargs)):
            values[node] = _run_plain(node, modules, args, kwargs)
        elif node.op == "call_module":
            values[node] = _call_module(node, modules[str(node.target)], builder, args, kwargs)
        else:
            values[node] = _call_function(node, builder, args, kwargs)
        if node.args and isinstance(node.args[0], fx.Node) and _in_place(node, modules):
            old, new = args[0], values[node]
            for earlier in [n for n, v in values.items() if v is old]:
                values[earlier] = new
    raise CompileError("the network returns nothing")


def _call_module(node: fx.Node, leaf: nn.Module, builder: Builder, args: Any, kwargs: Any) -> Any:
    builder.place = str(node.target)
    name = type(leaf).__name__
    if name == "GuardsFn":  # the input checks that torch.export leaves in a module; they compute nothing
        return None
    handler = next(
        (MODULES[kind] for kind in type(leaf).__mro__ if kind in MODULES), None
    )  # weight_norm derives
    if handler is None:
        if _only_heads_follow(node) and name in MONOTONIC_HEADS:
            return builder.head(name, args[0])
        raise refuse(f"layer {node.target!r} ({name})", name)
    if len(args) != 1 or kwargs:
        raise CompileError(f"layer {node.target!r} ({name}): called with more than one input")
    for value in leaf.parameters(recurse=False):
        if not torch.isfinite(value).all():
            raise CompileError(
                f"layer {node.target!r} ({name}): a weight is not a finite number: train it again"
            )
    return handler(builder, leaf, args[0])


def _call_function(node: fx.Node, builder: Builder, args: Any, kwargs: Any) -> Any:
    name = function_name(node)
    handler = FUNCTIONS.get(name)
    if handler is None:
        if _only_heads_follow(node) and name in MONOTONIC_HEADS:
            return builder.head(name, args[0])
        raise refuse(f"operation {node.name!r} ({name})", name)
    kwargs = {k: v for k, v in kwargs.items() if k != "inplace"}
    if "input" in kwargs:
        args = (kwargs.pop("input"), *args)
    try:
        return handler(builder, *args, **kwargs)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise CompileError(f"operation {node.name!r} ({name}): {error}: call it in its plain form") from None


def _run_plain(node: fx.Node, modules: dict[str, nn.Module], args: Any, kwargs: Any) -> Any:
    """An operation on numbers and constants alone (shape arithmetic, parameters)."""
    if node.op == "call_function":
        return node.target(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    leaf = modules.get(str(node.target))
    if leaf is None or not args:  # the guards that torch.export leaves in
        return None
    return leaf(*args, **kwargs)


def function_name(node: fx.Node) -> str:
    """One name for all spellings: F.relu, torch.relu, x.relu(), x.relu_(), aten.relu.default are `relu`."""
    target: Any = node.target
    if isinstance(target, torch._ops.OpOverload):
        name = str(target._schema.name).split("::")[-1]
    else:
        name = target if isinstance(target, str) else str(getattr(target, "__name__", target))
    if name == "batch_norm" and isinstance(target, torch._ops.OpOverload | types.BuiltinFunctionType):
        name = "aten.batch_norm"  # its arguments stand in another order than those of torch.nn.functional
    return name if name.startswith("__") else name.rstrip("_").lstrip("_")


def _in_place(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether the operation writes its first argument: every other name of that tensor sees the result."""
    if node.op == "call_module":
        return bool(getattr(modules[str(node.target)], "inplace", False))
    target: Any = node.target
    if isinstance(target, torch._ops.OpOverload):
        name = str(target._schema.name)
    else:
        name = target if isinstance(target, str) else str(getattr(target, "__name__", target))
    ends = name.endswith("_") and not name.endswith("__")
    return ends or bool(node.kwargs.get("inplace")) or name in ("iadd", "isub", "imul", "itruediv")


def _holds_symbol(value: Any) -> bool:
    if isinstance(value, Sym):
        return True
    if isinstance(value, dict):
        return any(_holds_symbol(v) for v in value.values())
    return isinstance(value, tuple | list) and any(_holds_symbol(v) for v in value)


def _only_heads_follow(node: fx.Node) -> bool:
    """Whether nothing but the network's output reads this node: a softmax there keeps the order of the
    classes.
    """
    return all(user.op == "output" for user in node.users)


def _attribute(module: nn.Module, path: str) -> Any:
    value: Any = module
    for part in path.split("."):
        value = getattr(value, part)
    return value.detach() if isinstance(value, Tensor) else value
