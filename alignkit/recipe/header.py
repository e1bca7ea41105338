"""The header of a recipe file: keys at its top that say how to read it and are no part of the recipe itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from alignkit.errors import Problem, RecipeError, shown
from alignkit.recipe.tree import Node

SCHEMA_KEY: Final = "$schema"
EXTENDS_KEY: Final = "extends"
VERSION_KEY: Final = "schema"
DEPRECATED_KEY: Final = "deprecated"
FILE_KEYS: Final = (SCHEMA_KEY, VERSION_KEY, DEPRECATED_KEY, EXTENDS_KEY)

SCHEMA: Final = 1
"""What the keys of a recipe are called; one more whenever one of them is renamed."""


@dataclass(frozen=True)
class Header:
    """What a file says of itself. `$schema` is the editor's, and `extends` is read with the files it names.

    Attributes:
        schema: the number that its keys are written for; 1 where it says none.
        notes: what whoever uses the file should be told, each with its place.
    """

    schema: int = 1
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, root: Node) -> tuple[Header, list[Problem]]:
        """The header of a file whose tree is `root`, and what is wrong with it.

        Raises:
            RecipeError: the file is of a later schema, so that nothing else in it can be judged.
        """
        schema, problems = _schema(root.child(VERSION_KEY))
        notes, more = _deprecation(root.child(DEPRECATED_KEY))
        return cls(schema, notes), problems + more


def _schema(node: Node | None) -> tuple[int, list[Problem]]:
    if node is None:
        return 1, []
    given = node.value
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        message = f"expected a whole number from 1 to {SCHEMA}, got {shown(node.plain())}"
        return 1, [Problem(str(node.place), VERSION_KEY, message)]
    if given > SCHEMA:
        message = f"written for schema {shown(given)}, this alignkit reads {SCHEMA}; install a newer alignkit"
        raise RecipeError([Problem(str(node.place), VERSION_KEY, message)])
    return given, []


def _deprecation(node: Node | None) -> tuple[tuple[str, ...], list[Problem]]:
    if node is None:
        return (), []
    if not isinstance(node.value, str) or not node.value.strip():
        message = f"expected a text that says what to use instead, got {shown(node.plain())}"
        return (), [Problem(str(node.place), DEPRECATED_KEY, message)]
    return (f"{node.place}: {DEPRECATED_KEY}: {node.value.strip()}",), []
