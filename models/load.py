"""Getting a network to compile: `MODULE:FACTORY` with a state dict, or a `torch.export` archive. No pickles."""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from blindsight.errors import quoted

from .builder import CompileError


def load_module(source: str, weights: str | Path | None = None) -> nn.Module:
    """The network that `source` names, in evaluation mode where it can be set.

    Args:
        source: `MODULE:FACTORY` (imported, also from the current folder, and called without arguments) or `FILE.pt2`.
        weights: a state dict for MODULE:FACTORY: `.safetensors`, or `.pt`/`.pth`, read with weights_only.

    Raises:
        CompileError: one line; a pickled network is refused by name, since loading one may run any code.
    """
    if ":" in source and not source.endswith((".pt", ".pth", ".pt2")):
        return _from_factory(source, weights)
    path = Path(source)
    if weights is not None:
        raise CompileError(f"--weights goes with MODULE:FACTORY; {path} holds its own")
    if path.suffix == ".bsm":
        raise CompileError(f"{path} is a compiled model already")
    if path.suffix != ".pt2":
        raise CompileError(
            f"{path} may be pickled, and loading it could run any code: pass MODULE:FACTORY with --weights {path}, or "
            "save the network with torch.export.save(torch.export.export(net, (x,)), 'net.pt2')"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exported = torch.export.load(path)
            return exported.module(check_guards=False)
    except FileNotFoundError:
        raise CompileError(f"{path}: no such file") from None
    except Exception as error:  # the archive reader raises many kinds
        raise CompileError(f"{path} is no torch.export archive, or a damaged one ({_line(error)})") from None


def _from_factory(source: str, weights: str | Path | None) -> nn.Module:
    module_name, _, factory_name = source.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        factory = importlib.import_module(module_name)
        for part in factory_name.split("."):
            factory = getattr(factory, part)
    except Exception as error:  # whatever the module's own code raises
        why = f"{type(error).__name__}: {_line(error)}"
        raise CompileError(f"{source}: cannot import it ({why}): give MODULE:FACTORY") from None
    try:
        module = factory if isinstance(factory, nn.Module) else factory()  # type: ignore[operator]
    except Exception as error:
        why = f"{type(error).__name__}: {_line(error)}"
        raise CompileError(
            f"{source}: calling it failed ({why}): FACTORY takes no arguments and returns the network"
        ) from None
    if not isinstance(module, nn.Module):
        raise CompileError(f"{source} gives a {type(module).__name__}, not a torch.nn.Module")
    if weights is not None:
        _load_state(module, Path(weights))
    return module.eval()


def _load_state(module: nn.Module, path: Path) -> None:
    try:
        state = load_file(path) if path.suffix == ".safetensors" else _load_quietly(path)
    except FileNotFoundError:
        raise CompileError(f"{path}: no such file") from None
    except pickle.UnpicklingError:
        raise CompileError(
            f"{path} is a pickled object, and loading it could run any code: save torch.save(net.state_dict(), ...)"
        ) from None
    except (SafetensorError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise CompileError(f"{path} is no state dict, or a damaged one ({_line(error)})") from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CompileError(f"{path} is no state dict: save torch.save(net.state_dict(), ...)")
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise CompileError(f"{path} does not fit the network: {_line(error)}") from None


def _load_quietly(path: Path) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of foreign pickle protocols: such a file is refused anyway
        return torch.load(path, "cpu", weights_only=True)


def _line(error: Exception) -> str:
    return quoted(error) or type(error).__name__
