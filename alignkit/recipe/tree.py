"""The tree of a recipe before it is validated: plain values, each knowing the place it was written at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

Path = tuple[str | int, ...]
"""Keys and list indices from the root of a recipe."""


@dataclass(frozen=True, order=True)
class Place:
    """Where a value was written.

    Attributes:
        source: a file as the user named it, or a whole `--set` argument.
        line: line in the file, from 1; 0 for a `--set` argument.
    """

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True)
class Node:
    """One value of a recipe.

    Attributes:
        value: a scalar, a list of nodes, or a dict of nodes.
        place: the line of its key; of the value itself inside a list.
    """

    value: Any
    place: Place

    def child(self, step: str | int) -> Node | None:
        """The node under a key or a list index; None when there is none."""
        if isinstance(self.value, dict):
            return self.value.get(step)
        if isinstance(self.value, list) and isinstance(step, int) and step < len(self.value):
            found: Node = self.value[step]
            return found
        return None

    def plain(self) -> Any:  # noqa: ANN401 -- whatever YAML can hold
        """The value without places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


def nearest(root: Node, path: Sequence[str | int]) -> tuple[Node, int]:
    """The deepest node that exists along `path`, and how many steps lead to it."""
    node = root
    for depth, step in enumerate(path):
        below = node.child(step)
        if below is None:
            return node, depth
        node = below
    return node, len(path)


def dotted(path: Sequence[str | int]) -> str:
    """`losses.0.beta`, as messages and `--set` write it."""
    return ".".join(map(str, path))


def leaves(plain: object, path: Path = ()) -> Iterator[tuple[Path, object]]:
    """The scalars, empty lists and empty mappings of a plain tree, with their paths, in order."""
    if isinstance(plain, dict) and plain:
        for key, value in plain.items():
            yield from leaves(value, (*path, key))
    elif isinstance(plain, list) and plain:
        for index, value in enumerate(plain):
            yield from leaves(value, (*path, index))
    else:
        yield path, plain


def component_name(node: Node) -> str | None:
    """The component that a node names, as `{name: ...}` or as a bare string."""
    name = node.value.get("name", node).value if isinstance(node.value, dict) else node.value
    return name if isinstance(name, str) else None


def merge(base: Node, over: Node) -> Node:
    """`base` with `over` on top.

    Mappings merge key by key; everything else replaces. A mapping that names another component than the base's
    replaces it too, since the old component's parameters mean nothing to the new one. A bare name counts as such a
    mapping: `weighting: uniform` is `weighting: {name: uniform}`.
    """
    before, after = component_name(base), component_name(over)
    if before and after and before != after:
        return over
    if isinstance(over.value, dict) and isinstance(base.value, str):
        base = Node({"name": base}, base.place)
    if isinstance(over.value, str) and isinstance(base.value, dict) and before == after:
        over = Node({"name": over}, over.place)
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)):
        return over
    merged = dict(base.value)
    for key, node in over.value.items():
        merged[key] = merge(merged[key], node) if key in merged else node
    return replace(over, value=merged)
