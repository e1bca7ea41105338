"""The header of a recipe file: keys at its top that say how to read it and are no part of the recipe itself."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement

from alignkit.errors import Problem, RecipeError, printable, shown
from alignkit.recipe.tree import Node

SCHEMA_KEY: Final = "$schema"
EXTENDS_KEY: Final = "extends"
VERSION_KEY: Final = "schema"
DEPRECATED_KEY: Final = "deprecated"
REQUIRES_KEY: Final = "requires"
SWEEP_KEY: Final = "recipe"
"""The key that no recipe has: a file with it at its top is a sweep of one."""
FILE_KEYS: Final = (SCHEMA_KEY, VERSION_KEY, DEPRECATED_KEY, REQUIRES_KEY, EXTENDS_KEY)

MAX_REQUIREMENT: Final = 100
"""Characters of a package with its versions."""

SCHEMA: Final = 1
"""What the keys of a recipe are called; one more whenever one of them is renamed."""


@dataclass(frozen=True)
class Header:
    """What a file says of itself. `$schema` is the editor's, and `extends` is read with the files it names.

    Attributes:
        schema: the number that its keys are written for; 1 where it says none.
        notes: what whoever uses the file should be told, each with its place.
        requires: the packages that it needs, with their versions.
    """

    schema: int = 1
    notes: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()

    @classmethod
    def of(cls, root: Node) -> tuple[Header, list[Problem]]:
        """The header of a file whose tree is `root`, and what is wrong with it.

        Raises:
            RecipeError: the file is of a later schema, so that nothing else in it can be judged.
        """
        schema, problems = _schema(root.child(VERSION_KEY))
        notes, more = _deprecation(root.child(DEPRECATED_KEY))
        required = _items(root.child(REQUIRES_KEY))
        requires = tuple(item.value for item in required if isinstance(item.value, str))
        return cls(schema, notes, requires), [*problems, *more, *_unmet(required)]


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
    return (f"{node.place}: {DEPRECATED_KEY}: {printable(node.value.strip(), 300)}",), []


def _items(node: Node | None) -> list[Node]:
    """The items of a list, or the one value that stands for a list."""
    if node is None:
        return []
    return node.value if isinstance(node.value, list) else [node]


def _unmet(required: Iterable[Node]) -> Iterator[Problem]:
    """The packages that a file requires and that are not here; nothing is installed or imported to know."""
    for item in required:
        if not isinstance(item.value, str):
            message = f"expected packages such as 'acme-weights>=1.2', got {shown(item.plain())}"
            yield Problem(str(item.place), REQUIRES_KEY, message)
        elif complaint := unmet(item.value):
            yield Problem(str(item.place), REQUIRES_KEY, complaint)


def unmet(requirement: str) -> str | None:
    """Why a package with its versions, as pip takes it, is not there; None when it is."""
    if len(requirement) > MAX_REQUIREMENT:  # a line to be copied cannot be cut
        return f"expected a package such as 'acme-weights>=1.2', got {shown(requirement)}"
    try:
        wanted = Requirement(requirement)
    except InvalidRequirement:
        return f"expected a package such as 'acme-weights>=1.2', got {shown(requirement)}"
    if wanted.url or wanted.marker or wanted.extras:
        return f"expected a name and versions alone, such as 'acme-weights>=1.2', got {shown(requirement)}"
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        return f"needs the package {wanted}, which is not installed: pip install {shlex.quote(str(wanted))}"
    if wanted.specifier.contains(found, prereleases=True):
        return None
    return f"needs the package {wanted}, but {shown(found, 40)} is installed: pip install {shlex.quote(str(wanted))}"
