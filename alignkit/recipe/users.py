"""Which of the recipes that come with packages name a component."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

from alignkit.errors import LibraryError, RecipeError, printable
from alignkit.libraries.known import SHIPPED, Libraries
from alignkit.recipe.files import read_recipe_tree
from alignkit.recipe.libraries import recipe_names
from alignkit.recipe.parts import parts
from alignkit.recipe.recipe import Recipe
from alignkit.recipe.tree import Node, component_name, leaves, nearest
from alignkit.registry import Registry

Named = tuple[str, list[Node]]
"""What a recipe is called, and its tree, or those of its stages."""

MOST_SHOWN: Final = 12
"""Recipes that are named before the others are only counted."""


def used_by(registry: Registry[Any], name: str) -> str:
    """The recipes that name a component, or extend one that does, in one line."""
    try:
        libraries = Libraries.here()
    except LibraryError as error:
        return f"not known: {error}"
    named = [(recipe, roots) for library in libraries.names for recipe, roots in _recipes(library, libraries)]
    found = [recipe for recipe, roots in named if any(_names(root, registry, name) for root in roots)]
    if not found:
        return f"no recipe of {', '.join(libraries.names)}"
    rest = len(found) - MOST_SHOWN
    return ", ".join(map(printable, found[:MOST_SHOWN])) + (f" and {rest} more" if rest > 0 else "")


def _recipes(library: str, libraries: Libraries) -> list[Named]:
    return _shipped() if library == SHIPPED else _read(library, libraries)


@cache
def _shipped() -> list[Named]:
    """Those that come with alignkit, which stay as they are."""
    return _read(SHIPPED, Libraries())


def _read(library: str, libraries: Libraries) -> list[Named]:
    """A library's recipes, those at the top of a folder first; what cannot be read is a mistake of another day."""
    found = []
    for name in sorted(recipe_names(library, libraries), key=lambda name: (name.count("/"), name)):
        with suppress(RecipeError):
            roots = read_recipe_tree(Path(name), libraries).roots
            found.append((name, list(roots.stages.values()) or [roots.shared]))
    return found


def _names(root: Node, registry: Registry[Any], name: str) -> bool:
    if all(value != name for _, value in leaves(root.plain())):  # of most recipes no more need be known
        return False
    slots = (part.path for part in parts(Recipe, root) if part.registry is registry)
    return any(
        depth == len(path) and component_name(node) == name for path in slots for node, depth in [nearest(root, path)]
    )
