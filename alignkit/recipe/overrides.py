"""`--set losses.0.beta=0.5`, `--set ~losses.triplet`: single values on top of a recipe, or taken out of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath

from alignkit.errors import Problem, RecipeError, shown
from alignkit.recipe.composing import REMOVE, steps_of
from alignkit.recipe.header import FILE_KEYS
from alignkit.recipe.stages import Roots, changed
from alignkit.recipe.tree import Node, Place
from alignkit.recipe.yaml import read_yaml


def arguments_of(overrides: Sequence[str] | Mapping[str, object]) -> Iterator[str]:
    """`KEY=VALUE` for each override, from such texts or from dotted keys and plain values.

    Raises:
        RecipeError: one text in place of several, or a value that YAML has no form for.
    """
    if isinstance(overrides, str):
        raise RecipeError(f"overrides: expected a list of KEY=VALUE texts or a mapping, got {shown(overrides)}")
    if not isinstance(overrides, Mapping):
        yield from overrides
        return
    for key, value in overrides.items():
        try:
            text = json.dumps(str(value) if isinstance(value, PurePath) else value, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError):
            message = f"expected a text, number, boolean, None, list or mapping, got {shown(value)}"
            raise RecipeError([Problem("overrides", key, message)]) from None
        yield f"{key}={text}"


def override(roots: Roots, argument: str) -> Roots:
    """`roots` with one `KEY=VALUE` merged on top, or with one `~KEY` taken away, as a recipe that extends it could.

    The value is read as YAML. Keys that are not there yet are made; items of a list are named by index or component.

    Raises:
        RecipeError: not of that form, no YAML, or no such list item.
    """
    place = Place(f"--set {argument}")
    key, equals, text = argument.partition("=")
    removes = key.startswith(REMOVE)
    if bool(equals) == removes or not all(step.strip() for step in key.removeprefix(REMOVE).split(".")):
        message = "expected KEY=VALUE, such as losses.0.beta=0.5, or ~KEY to take away what is inherited"
        raise RecipeError([Problem(str(place), "", message)])
    steps = steps_of(key.removeprefix(REMOVE), place)
    if steps[0] in FILE_KEYS:
        raise RecipeError([Problem(str(place), "", f"'{steps[0]}' can only stand in a recipe file")])
    if removes:
        return changed(roots, key, Node(None, place))
    value, problems = read_yaml(text, str(place), first_line=0)
    if problems:
        raise RecipeError(problems)
    return changed(roots, key, Node(value and value.value, place))
