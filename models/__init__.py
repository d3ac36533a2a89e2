"""Models: the zoo, training, and the compiler from PyTorch to a secure model.

Importing this package, or `blindsight.models.zoo`, needs no PyTorch; the compiler's names below load it on
first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .builder import CompileError
    from .compiler import Compiled, compile_model
    from .load import load_module

__all__ = ["CompileError", "Compiled", "compile_model", "load_module"]

_HOMES = {
    "compile_model": "compiler",
    "Compiled": "compiler",
    "CompileError": "builder",
    "load_module": "load",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ModuleNotFoundError(
            "compiling needs PyTorch: pip install 'blindsight[train]'", name="torch"
        ) from None
