"""What a Python file imports, by its syntax tree: with and without dots, in functions, and by name at run time."""

import ast
import pathlib
from collections.abc import Iterator

OPAQUE = "?"  # stands for a name, or the rest of one, that is computed at run time


def imports(path: pathlib.Path, package: str = "") -> set[str]:
    """Full dotted names; `package` is the one the file lies in (its own for an `__init__.py`), for relative imports.

    `from a.b import c` counts as `a.b.c`, whether c is a module or not.
    """
    tree = ast.parse(path.read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), package, path)
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found | set(_dynamic(tree, package, path))


def _absolute(name: str, package: str, path: pathlib.Path) -> str:
    rest = name.lstrip(".")
    up = len(name) - len(rest)
    if up == 0:
        return name
    parts = package.split(".") if package else []
    assert up <= len(parts), f"{path}: the import {name} climbs out of its package"
    return ".".join([*parts[: len(parts) - up + 1], *([rest] if rest else [])])


def _dynamic(tree: ast.AST, package: str, path: pathlib.Path) -> Iterator[str]:
    """First arguments of `importlib.import_module` and `__import__`, whatever they are called here."""
    known = {"import_module", "__import__"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            known |= {a.asname for a in node.names if a.asname and a.name in ("import_module", "__import__")}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = getattr(node.func, "id", getattr(node.func, "attr", None))  # f(...) or module.f(...)
        if called in known:
            given = {str(k.arg): k.value for k in node.keywords}
            name = node.args[0] if node.args else given["name"]
            own = given.get("package", node.args[1] if len(node.args) > 1 else None)
            yield _absolute(_text(name), own.value if isinstance(own, ast.Constant) else package, path)


def _text(value: ast.expr) -> str:
    """What of an expression's text is constant from its beginning on."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    if isinstance(value, ast.JoinedStr) and value.values:
        first = _text(value.values[0])
        return first if len(value.values) == 1 or first == OPAQUE else first + OPAQUE
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        left = _text(value.left)
        return left if left.endswith(OPAQUE) else left + _text(value.right)
    return OPAQUE
