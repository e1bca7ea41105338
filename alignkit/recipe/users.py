"""Which of the recipes that come with packages name a component."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

from alignkit.errors import RecipeError, printable
from alignkit.recipe.files import read_recipe_tree
from alignkit.recipe.libraries import libraries
from alignkit.recipe.parts import parts
from alignkit.recipe.recipe import Recipe
from alignkit.recipe.tree import Node, component_name, leaves, nearest
from alignkit.registry import Registry

MOST_SHOWN: Final = 12
"""Recipes that are named before the others are only counted."""


def used_by(registry: Registry[Any], name: str) -> str:
    """The recipes that name a component, or extend one that does, in one line."""
    found = [
        recipe
        for recipe, roots in _recipes((*libraries().items(),))
        if any(_names(root, registry, name) for root in roots)
    ]
    if not found:
        return f"no recipe of {', '.join(libraries())}"
    rest = len(found) - MOST_SHOWN
    return ", ".join(map(printable, found[:MOST_SHOWN])) + (f" and {rest} more" if rest > 0 else "")


@cache
def _recipes(folders: tuple[tuple[str, Path], ...]) -> list[tuple[str, list[Node]]]:
    """The trees of every recipe in these, by the name that works everywhere, those at the top of a folder first.

    What cannot be read is left out: it is a mistake of another day.
    """
    found = []
    for library, folder in folders:
        files = {path.relative_to(folder) for ending in ("yaml", "yml") for path in folder.rglob(f"*.{ending}")}
        for file in sorted(files, key=lambda file: (len(file.parts), file)):
            name = f"{library}:{file.as_posix()}"
            try:
                roots, _ = read_recipe_tree(Path(name))
            except RecipeError:
                continue
            found.append((name, list(roots.stages.values()) or [roots.shared]))
    return found


def _names(root: Node, registry: Registry[Any], name: str) -> bool:
    if all(value != name for _, value in leaves(root.plain())):  # of most recipes no more need be known
        return False
    slots = (part.path for part in parts(Recipe, root) if part.registry is registry)
    return any(
        depth == len(path) and component_name(node) == name for path in slots for node, depth in [nearest(root, path)]
    )
