"""The component classes that a file or folder holds, whose code is run to know them, and components built of them."""

from __future__ import annotations

import importlib
import inspect
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alignkit.errors import RecipeError, printable
from alignkit.recipe.kinds import KINDS
from alignkit.recipe.messages import problems_of
from alignkit.recipe.overrides import override
from alignkit.recipe.stages import Roots
from alignkit.recipe.tree import Node, Place
from alignkit.registry import Component
from alignkit.trusted import TrustError, modules_of, read_files


def classes_at(path: Path) -> Mapping[str, type[Component]]:
    """Name -> class of each component: of a package what its entry points say, of plain files every class they define.

    Raises:
        TrustError: there are none, or the code cannot be run; in a line.
    """
    path = path.resolve()
    where = printable(str(path))
    try:
        found = dict(_of_package(path) if (path / "pyproject.toml").is_file() else _of_files(path))
    except (KeyboardInterrupt, TrustError):
        raise
    except BaseException as error:  # somebody's module may do anything, `sys.exit()` included
        raise TrustError(f"{where}: cannot be imported: {printable(f'{type(error).__name__}: {error}')}") from error
    if not found:
        raise TrustError(f"{where}: holds no component; expected a class that derives from one of alignkit's bases")
    return found


def built(name: str, cls: type[Component], settings: Sequence[str]) -> Component:
    """The component with parameters given as after `--set`.

    Raises:
        RecipeError: they do not fit; with all problems.
    """
    roots = Roots(Node({}, Place("alignkit check-component")))
    for setting in settings:
        roots = override(roots, setting)
    root = roots.root
    try:
        return cls.model_validate({**root.plain(), "name": name})
    except ValidationError as error:
        raise RecipeError(problems_of(error, cls, root)) from None


def _of_files(path: Path) -> Iterator[tuple[str, type[Component]]]:
    for name in modules_of(path, read_files(path)):
        for cls in vars(importlib.import_module(name)).values():
            if _is_component(cls) and cls.__module__ == name:
                yield cls.__name__, cls


def _of_package(path: Path) -> Iterator[tuple[str, type[Component]]]:
    project = tomllib.loads((path / "pyproject.toml").read_text(encoding="utf-8"))
    groups: Mapping[str, Mapping[str, str]] = project.get("project", {}).get("entry-points", {})
    sys.path[:0] = [str(path), str(path / "src")]
    try:
        for group, points in groups.items():
            for name, value in points.items() if group.startswith("alignkit.") else ():
                module, _, attribute = value.partition(":")
                cls = getattr(importlib.import_module(module), attribute)
                if not _is_component(cls):
                    raise TrustError(f"{printable(str(path))}: '{name}' is no class of a component: {printable(value)}")
                yield name, cls
    finally:
        del sys.path[:2]


def _is_component(cls: Any) -> bool:  # noqa: ANN401 -- whatever a module holds
    """Whether it is a class of a kind that there is, and not a base for others."""
    bases = tuple(registry.base for registry in KINDS.values())
    return isinstance(cls, type) and issubclass(cls, bases) and not inspect.isabstract(cls)
