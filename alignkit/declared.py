"""The components that Python files declare, read from their text: nothing of them is run.

A declaration is a class of the module with `@weightings.register("name")` before it, or the registry of another kind.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from alignkit.errors import printable, shown
from alignkit.recipe.kinds import KINDS, plural
from alignkit.trusted import Components, TrustError

REGISTRIES: Final = {plural(kind): kind for kind in KINDS}
"""`weightings`, as plugins import it -> its kind."""

_NAME: Final = re.compile(r"[A-Za-z]\w{0,99}", re.ASCII)


def declared(path: Path, files: Mapping[str, bytes]) -> Components:
    """Kind -> name -> `module:Class` of a plugin.

    Args:
        path: the plugin, for messages.
        files: its Python files by name.

    Raises:
        TrustError: a file is no Python, a name is no name or is declared twice, or nothing is declared.
    """
    found: Components = {}
    for file, content in files.items():
        for kind, name, cls in _classes(_parsed(path, file, content)):
            where = f"{_place(path, file)}:{cls.lineno}"
            if not _NAME.fullmatch(name):
                raise TrustError(f"{where}: expected a name of letters, digits and '_', got {shown(name)}")
            if name in found.setdefault(kind, {}):
                raise TrustError(f"{where}: {kind} '{name}' is declared twice, first as {found[kind][name]}")
            if not KINDS[kind].is_free(name, path):
                raise TrustError(f"{where}: {kind} '{name}' is {KINDS[kind].owner(name)} already; rename this one")
            found[kind][name] = f"{file.removesuffix('.py')}:{cls.name}"
    if not found:
        raise TrustError(
            f"{printable(str(path))}: declares no component; put '@weightings.register(\"my_name\")' before its class, "
            f"or another of {', '.join(REGISTRIES)}"
        )
    return found


def _parsed(path: Path, file: str, content: bytes) -> ast.Module:
    try:
        return ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        where = f"{_place(path, file)}:{line}" if line else _place(path, file)
        reason = getattr(error, "msg", None) or str(error) or type(error).__name__
        raise TrustError(f"{where}: no Python: {printable(str(reason))}") from None


def _place(path: Path, file: str) -> str:
    return printable(str(path if path.name == file else path / file))


def _classes(module: ast.Module) -> Iterator[tuple[str, str, ast.ClassDef]]:
    """Kind, name and class of each declaration."""
    for statement in module.body:
        for decorator in statement.decorator_list if isinstance(statement, ast.ClassDef) else ():
            match decorator:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id=registry), attr="register"),
                    args=[ast.Constant(value=str(name))],
                ) if registry in REGISTRIES:
                    assert isinstance(statement, ast.ClassDef)
                    yield REGISTRIES[registry], name, statement
