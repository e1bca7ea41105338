"""`--set losses.0.beta=0.5`: single values on top of a recipe."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath

from alignkit.errors import Problem, RecipeError, printable, shown
from alignkit.recipe.files import FILE_KEYS
from alignkit.recipe.tree import Node, Place, dotted, merge
from alignkit.recipe.yaml import MAX_DEPTH, read_yaml


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


def override(root: Node, argument: str) -> Node:
    """`root` with one `KEY=VALUE` merged on top, as if a recipe that extends it said so.

    The value is read as YAML. Keys that are not there yet are made; list items are named by index and must exist.

    Raises:
        RecipeError: not of that form, no YAML, or no such list item.
    """
    place = Place(f"--set {argument}")
    key, equals, text = argument.partition("=")
    steps = [step.strip() for step in key.split(".")]
    if not equals or not all(steps):
        raise RecipeError([Problem(str(place), "", "expected KEY=VALUE, such as losses.0.beta=0.5")])
    if len(steps) > MAX_DEPTH:
        raise RecipeError([Problem(str(place), "", f"nested deeper than {MAX_DEPTH} levels")])
    if steps[0] in FILE_KEYS:
        raise RecipeError([Problem(str(place), "", f"'{steps[0]}' can only stand in a recipe file")])
    value, problems = read_yaml(text, str(place), first_line=0)
    if problems:
        raise RecipeError(problems)
    return merge(root, _layer(root, steps, Node(value and value.value, place), ()))


def _layer(under: Node | None, steps: Sequence[str], value: Node, path: tuple[str, ...]) -> Node:
    """The tree that holds `value` at `steps` and nothing else; a list on the way is kept whole."""
    if not steps:
        return value
    step, *rest = steps
    # The mappings on the way were not written here: they keep the place they have.
    place = under.place if under else value.place
    if under and isinstance(under.value, list):
        index = _index(under.value, step, value.place, path)
        items = list(under.value)
        items[index] = merge(items[index], _layer(items[index], rest, value, (*path, step)))
        return Node(items, place)
    if _is_number(step) and not (under and isinstance(under.value, dict)):
        whole = f"set the whole list: {printable(dotted(path))}=[...]"
        message = f"there is no list here to take item {printable(step)} of; {whole}"
        raise RecipeError([Problem(str(value.place), dotted(path), message)])
    below = under.child(step) if under else None
    return Node({step: _layer(below, rest, value, (*path, step))}, place)


def _index(items: list[Node], step: str, place: Place, path: tuple[str, ...]) -> int:
    if _is_number(step) and len(step) < 10 and int(step) < len(items):
        return int(step)
    have = f"0 to {len(items) - 1}" if len(items) > 1 else "0" if items else "none: the list is empty"
    message = f"a list has items, not keys; expected an index ({have}), got {shown(step)}"
    if _is_number(step):
        held = f"items {have}" if len(items) > 1 else "item 0 only" if items else "none"
        message = f"no item {printable(step)}; the list has {held}"
    raise RecipeError([Problem(str(place), dotted(path), message)])


def _is_number(step: str) -> bool:
    return step.isascii() and step.isdigit()  # of other scripts and powers, `int` takes some and not others
