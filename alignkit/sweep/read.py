"""A sweep file as its user wrote it: sections, and the place of every value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from alignkit.errors import Problem, RecipeError, printable, shown
from alignkit.libraries.known import Libraries
from alignkit.recipe.composing import first_key
from alignkit.recipe.files import content_of, usable
from alignkit.recipe.header import FILE_KEYS, SCHEMA_KEY, SWEEP_KEY
from alignkit.recipe.libraries import Source
from alignkit.recipe.load import by_place
from alignkit.recipe.messages import problems_of
from alignkit.recipe.tree import Node, Place
from alignkit.recipe.yaml import read_yaml
from alignkit.registry import Section, suggestion
from alignkit.sweep.config import NAME, Arm, Sweep

S = TypeVar("S", bound=Section)


@dataclass(frozen=True)
class SweepFile:
    """A sweep and where it was written.

    Attributes:
        file: the file.
        text: its content.
        root: its tree.
        sweep: what it holds.
    """

    file: Source
    text: str
    root: Node
    sweep: Sweep

    def node(self, *path: str) -> Node | None:
        """What is written under these keys; None where nothing is."""
        node: Node | None = self.root
        for step in path:
            node = node.child(step) if node else None
        return node if node is not None and node.value is not None else None


def read_sweep_file(given: str, libraries: Libraries) -> SweepFile:
    """Reads a sweep file and checks all that can be known without the recipes that it names.

    Args:
        given: the file, or NAME:PATH for one of a library.
        libraries: those that can be named.

    Raises:
        RecipeError: it cannot be read, is no sweep, or holds mistakes; all of them, with their lines.
    """
    file = usable(given, libraries)
    content = content_of(file)
    root, problems = read_yaml(content, file.name)
    if root is None and problems:
        raise RecipeError(problems)
    root = root or Node({}, Place(file.name, 1))
    if not isinstance(root.value, dict) or SWEEP_KEY not in root.value:
        raise RecipeError([Problem(str(root.place), "", _no_sweep(file.name))])
    root = Node({key: node for key, node in root.value.items() if key != SCHEMA_KEY}, root.place)
    sweep, found = _section(Sweep, root, "")
    # What is said of an arm itself knows its keys, and stands in place of what is said of it from above.
    by_key = {(one.where, one.key): one for one in [*problems, *found, *_arms_of(root), *_keys_of(root)]}
    if by_key or sweep is None:
        raise RecipeError(sorted(by_key.values(), key=by_place))
    return SweepFile(file, content.decode("utf-8-sig"), root, sweep)


def _no_sweep(name: str) -> str:
    return (
        f"this is no sweep: it has no key '{SWEEP_KEY}', which names the recipe to vary; a recipe is run with alignkit "
        f"run {printable(name)}"
    )


def _section(model: type[S], node: Node, prefix: str) -> tuple[S | None, list[Problem]]:
    """A section, if it is one, and what is wrong with it; of arms only that they are there."""
    unknown = [
        Problem(str(inner.place), printable(f"{prefix}{key}"), f"unknown key; {_known(model, key)}")
        for key, inner in node.value.items()
        if key not in model.model_fields
    ]
    own = Node({key: inner for key, inner in node.value.items() if key in model.model_fields}, node.place)
    try:
        return model.model_validate(own.plain()), unknown
    except ValidationError as error:
        found = problems_of(error, model, own)
        return None, [*unknown, *(Problem(one.where, f"{prefix}{one.key}", one.message) for one in found)]


def _known(model: type[Section], key: str) -> str:
    return suggestion(key, sorted(model.model_fields), "known keys")


def _arms_of(root: Node) -> Iterator[Problem]:
    """What is wrong with arms and their names."""
    for name, node in _mapping(root.child("arms")).items():
        if not re.fullmatch(NAME, name, re.ASCII):
            message = f"{shown(name)} cannot be the name of an arm; take letters, digits, '_', '-' and '.', at most 40"
            yield Problem(str(node.place), "arms", message)
        if isinstance(node.value, dict):
            yield from _section(Arm, node, printable(f"arms.{name}") + ".")[1]


def _keys_of(root: Node) -> Iterator[Problem]:
    """Dotted keys that cannot be set in a recipe, or that the sweep gives otherwise."""
    sections = [root, *_mapping(root.child("arms")).values(), *filter(None, [root.child("random")])]
    groups = [group for section in sections for name in ("set", "grid", "of") if (group := section.child(name))]
    for key, node in (item for group in groups for item in _mapping(group).items()):
        if first_key(key) in FILE_KEYS:
            yield Problem(str(node.place), printable(key), "can only stand in a recipe file")
        elif key == "seed" and root.child("seeds"):
            yield Problem(str(node.place), key, "given twice: 'seeds' gives it too")


def _mapping(node: Node | None) -> dict[str, Node]:
    return node.value if node is not None and isinstance(node.value, dict) else {}
