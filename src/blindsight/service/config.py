"""One TOML file a service, read into dataclasses; every unknown or ill-typed setting is one clear line."""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from blindsight.errors import OneLine

T = TypeVar("T")


class ConfigError(OneLine):
    """The file cannot be used; the message names the setting and what it must be."""


def load(kind: type[T], path: Path, overrides: Sequence[str] = ()) -> T:
    """The dataclass `kind` from the TOML file at `path`; tables become nested dataclasses, relative paths are
    taken from the file's folder. `overrides`: `table.setting=VALUE`, in place of what the file says.
    """
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; `blindsight keys init` writes one") from None
    except (ValueError, RecursionError) as error:  # tomllib's own, text that is no UTF-8, numbers too long
        raise ConfigError(f"{path} is not TOML: {error}") from None
    for override in overrides:
        _override(table, override)
    return _build(kind, table, path, "")


def _override(table: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override}: say table.setting=VALUE")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text  # text needs no quotation marks here
    *path, last = name.strip().split(".")
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {override}: {part} is no table")
    table[last] = value


def _build(kind: type[T], table: dict[str, Any], path: Path, prefix: str) -> T:
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise ConfigError(f"{path}: setting {prefix}{key} is unknown; known here: {', '.join(known)}")
    values = {}
    for name, field in known.items():
        if name in table:
            values[name] = _value(hints[name], table[name], path, prefix + name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{path}: setting {prefix}{name} is missing")
    try:
        return kind(**values)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def _value(hint: Any, value: Any, path: Path, name: str) -> Any:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(a for a in typing.get_args(hint) if a is not type(None))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise ConfigError(f"{path}: {name} is a table")
        return _build(hint, value, path, name + ".")
    if hint is Path:
        if not isinstance(value, str):
            raise ConfigError(f"{path}: {name} is a path (text)")
        return path.parent / value
    if hint is float and type(value) is int and abs(value) < 1 << 63:
        value = float(value)
    if type(value) is not hint:
        raise ConfigError(f"{path}: {name} must be of type {hint.__name__}, not {type(value).__name__}")
    return value
