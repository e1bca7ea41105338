"""Recipe files and the chain of files they extend, merged into one tree."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path

from alignkit.errors import Problem, RecipeError
from alignkit.recipe.tree import Node, Place, merge
from alignkit.recipe.yaml import read_yaml

SCHEMA_KEY = "$schema"
EXTENDS_KEY = "extends"
FILE_KEYS = (EXTENDS_KEY, SCHEMA_KEY)
"""Keys at the top of a file that say how to read it; they are no part of the recipe itself."""


def read_recipe_tree(path: Path) -> tuple[Node, list[Problem]]:
    """The tree of a recipe on top of everything it extends, and what is wrong with single keys of these files.

    Raises:
        RecipeError: a file is missing, cannot be read as YAML, or extends itself.
    """
    if not path.is_file():
        raise RecipeError([Problem("", "", _missing(str(path), path, Path()))])
    problems: list[Problem] = []
    return _read(path, (), problems), problems


def _read(path: Path, chain: tuple[Path, ...], problems: list[Problem]) -> Node:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecipeError([Problem(str(path), "", f"cannot be read: {error.strerror}")]) from error
    root, found = read_yaml(content, str(path))
    if root is None and found:
        raise RecipeError(found)
    problems += found
    root = root or Node({}, Place(str(path), 1))
    if not isinstance(root.value, dict):
        raise RecipeError([Problem(str(root.place), "", "expected a mapping of keys to values at the top")])
    body = Node({key: node for key, node in root.value.items() if key not in FILE_KEYS}, root.place)
    bases = [_read(base, (*chain, path), problems) for base in _bases(root, path, (*chain, path))]
    if not bases:
        return body
    merged, *rest = [*bases, body]
    for layer in rest:
        merged = merge(merged, layer)
    return merged


def _bases(root: Node, path: Path, chain: tuple[Path, ...]) -> list[Path]:
    """The files that `root` extends, in the order they are merged."""
    node = root.child(EXTENDS_KEY)
    if node is None:
        return []
    names = node.value if isinstance(node.value, list) else [node]
    return [_base(name, path, chain) for name in names]


def _base(name: Node, path: Path, chain: tuple[Path, ...]) -> Path:
    def refuse(message: str) -> RecipeError:
        return RecipeError([Problem(str(name.place), EXTENDS_KEY, message)])

    if not isinstance(name.value, str):
        raise refuse("expected a file name or a list of file names")
    base = Path(os.path.normpath(path.parent / name.value))
    if not base.is_file():
        raise refuse(_missing(name.value, base, path.parent, besides=path))
    resolved = [file.resolve() for file in chain]
    if base.resolve() in resolved:
        circle = [*chain[resolved.index(base.resolve()) :], base]
        raise refuse(f"goes in a circle: {' -> '.join(map(str, circle))}")
    return base


def _missing(given: str, path: Path, start: Path, besides: Path | None = None) -> str:
    """One line about a file that is not there, with the nearest that is; names are relative to `start`."""
    if path.is_dir():
        return f"'{given}' is a folder, not a recipe"
    folders = sorted({folder for folder in (path.parent, start) if folder.is_dir()})
    found = [file for folder in folders for pattern in ("*.y*ml", "*/*.y*ml") for file in folder.glob(pattern)]
    is_absolute = Path(given).is_absolute()
    names = [str(file) if is_absolute else os.path.relpath(file, start) for file in found if file != besides]
    near = get_close_matches(given, names, n=1)
    return f"no file '{given}'" + (f"; did you mean '{near[0]}'?" if near else "")
