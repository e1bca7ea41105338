"""One value of a tree set or removed by its dotted path, as `--set` and a recipe that extends another one write it.

losses.0.beta: 0.2               an item of a list by its place
losses.triplet.coefficient: 0.2  or by the component that it names
~losses.triplet:                 an item or a key taken away
"""

from __future__ import annotations

from collections.abc import Sequence

from alignkit.errors import Problem, RecipeError, printable, shown
from alignkit.recipe.tree import Node, Place, component_name, dotted, merge, nearest
from alignkit.recipe.yaml import MAX_DEPTH
from alignkit.registry import nearest_of

REMOVE = "~"
"""Before a path: take away what is there."""


def is_path(key: str) -> bool:
    """Whether a key at the top of a recipe is a path into it."""
    return key.startswith(REMOVE) or "." in key


def first_key(key: str) -> str:
    """The key at the top of a recipe that a path goes through, or that a key is."""
    return key.removeprefix(REMOVE).partition(".")[0]


def compose(root: Node, paths: dict[str, Node], below: Node | None = None) -> tuple[Node, list[Problem]]:
    """`root` with each path's value set, or what it names removed, in their order; and what is wrong with single ones.

    Args:
        root: what a file extends, with its own keys on top.
        paths: path -> value, as the file gives them.
        below: what `root` was without those keys, where the same file has a part in that too.
    """
    problems = []
    for key, node in paths.items():
        try:
            if not key.startswith(REMOVE):
                _refuse_twice(root, key, node, below)
            root = applied(root, key, node)
        except RecipeError as error:
            problems += error.problems
    return root, problems


def _refuse_twice(root: Node, key: str, node: Node, below: Node | None) -> None:
    steps = [int(step) if _is_number(step) else step for step in steps_of(key, node.place)]
    at, depth = nearest(root, steps)
    was = None if below is None else nearest(below, steps)[0]
    if depth == len(steps) and at.place.source == node.place.source and at != was:
        message = f"given twice; first on line {at.place.line}"
        raise RecipeError([Problem(str(node.place), printable(key), message)])


def applied(root: Node, key: str, node: Node) -> Node:
    """`root` with one path set or, with `~` before it, taken away.

    Raises:
        RecipeError: the path leads nowhere.
    """
    steps = steps_of(key.removeprefix(REMOVE), node.place)
    if not key.startswith(REMOVE):
        return set_at(root, steps, node)
    if node.value is not None:
        message = f"'{REMOVE}' takes away what a recipe extends, so no value can follow; got {shown(node.plain())}"
        raise RecipeError([Problem(str(node.place), printable(key), message)])
    return remove_at(root, steps, node.place)


def steps_of(path: str, place: Place) -> list[str]:
    """The keys, indices and names of a dotted path.

    Raises:
        RecipeError: one of them is empty, or there are too many.
    """
    steps = [step.strip() for step in path.split(".")]
    if not all(steps):
        message = "expected a path such as losses.0.beta or losses.triplet.coefficient"
        raise RecipeError([Problem(str(place), printable(path), message)])
    if len(steps) > MAX_DEPTH:
        raise RecipeError([Problem(str(place), "", f"nested deeper than {MAX_DEPTH} levels")])
    return steps


def set_at(root: Node, steps: Sequence[str], value: Node) -> Node:
    """`root` with `value` merged at a path, as if a recipe that extends it said so.

    Keys that are not there yet are made; items of a list are named by index or component and must exist.

    Raises:
        RecipeError: no such item.
    """
    return merge(root, _layer(root, steps, value, ()))


def remove_at(root: Node, steps: Sequence[str], place: Place) -> Node:
    """`root` without the key or item at a path.

    Raises:
        RecipeError: there is none.
    """
    return _without(root, steps, place, ())


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


def _without(under: Node, steps: Sequence[str], place: Place, path: tuple[str, ...]) -> Node:
    step, *rest = steps
    if isinstance(under.value, list):
        index = _index(under.value, step, place, path)
        items = list(under.value)
        items[index : index + 1] = [_without(items[index], rest, place, (*path, step))] if rest else []
        return Node(items, under.place)
    if not (isinstance(under.value, dict) and step in under.value):
        have = sorted(under.value) if isinstance(under.value, dict) else []
        near = nearest_of(step, have)
        hint = f"did you mean {shown(near)}? " if near else ""
        message = f"nothing to take away: no {shown(step)} is given here; {hint}given: {', '.join(have) or 'nothing'}"
        raise RecipeError([Problem(str(place), printable(dotted((*path, step))), message)])
    kept = {key: node for key, node in under.value.items() if key != step or rest}
    if rest:
        kept[step] = _without(under.value[step], rest, place, (*path, step))
    return Node(kept, under.place)


def _index(items: list[Node], step: str, place: Place, path: tuple[str, ...]) -> int:
    """The place in a list of an item named by number or by the component that it is."""
    if _is_number(step) and len(step) < 10 and int(step) < len(items):
        return int(step)
    names = [component_name(item) or "" for item in items]
    if names.count(step) == 1:
        return names.index(step)
    have = f"0 to {len(items) - 1}" if len(items) > 1 else "0" if items else "none: the list is empty"
    known = ", ".join(name for name in names if name)
    if _is_number(step):
        held = f"items {have}" if len(items) > 1 else "item 0 only" if items else "none"
        message = f"no item {printable(step)}; the list has {held}"
    elif step in names:
        message = f"{names.count(step)} items are called {shown(step)}; give the index of one ({have})"
    elif known:
        near = nearest_of(step, filter(None, names))
        hint = f"did you mean {shown(near)}? " if near else ""
        message = f"no item is called {shown(step)}; {hint}the list has {known}; an index ({have}) will do too"
    else:
        message = f"a list has items, not keys; expected an index ({have}), got {shown(step)}"
    raise RecipeError([Problem(str(place), dotted(path), message)])


def _is_number(step: str) -> bool:
    return step.isascii() and step.isdigit()  # of other scripts and powers, `int` takes some and not others
