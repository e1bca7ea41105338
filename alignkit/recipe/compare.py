"""What two recipes do differently, value by value, each with who said so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from alignkit.recipe.render import scalar
from alignkit.recipe.stages import STAGES_KEY
from alignkit.recipe.tree import Node, Path, dotted, nearest

ABSENT = "absent"


@dataclass(frozen=True)
class Differing:
    """One value that is not the same.

    Attributes:
        key: its dotted path; an item of a list by the component that it is.
        first: the value in the first recipe as YAML, with its origin in brackets; or `absent`.
        second: the same of the second recipe.
    """

    key: str
    first: str
    second: str

    def __str__(self) -> str:
        return f"{self.key}: {self.first} -> {self.second}"


class Comparable(Protocol):
    """A recipe as it is compared, such as a `LoadedRecipe`."""

    def tree(self) -> dict[str, Any]:
        """Its plain values."""

    def origin_of(self, path: Path) -> str:
        """Who gave the value at a path."""


@dataclass(frozen=True)
class Unfilled:
    """What files say, without defaults; a base that is no whole recipe can be compared so.

    Attributes:
        root: the values of a file on top of what it extends.
    """

    root: Node

    def tree(self) -> dict[str, Any]:
        """The values that are given."""
        plain: dict[str, Any] = self.root.plain()
        return plain

    def origin_of(self, path: Path) -> str:
        """`file:line` of a value."""
        return str(nearest(self.root, path)[0].place)


@dataclass(frozen=True)
class _Side:
    """A value, and its path in its own recipe; no path where it has none."""

    value: Any
    path: Path | None

    def child(self, step: str | int) -> _Side:
        return _Side(self.value[step], (*(self.path or ()), step))


def compare(first: Comparable, second: Comparable) -> Iterator[Differing]:
    """All differences, in the order of a recipe's keys. A component that another one stands for is one difference."""
    for key, one, other in _pairs(_Side(first.tree(), ()), _Side(second.tree(), ()), ()):
        yield Differing(dotted(key), _said(first, one), _said(second, other))
    orders = [list(side.tree().get(STAGES_KEY, {})) for side in (first, second)]
    common = [[name for name in order if name in orders[0] and name in orders[1]] for order in orders]
    if common[0] != common[1]:
        yield Differing(STAGES_KEY, *map(scalar, common))


def _pairs(one: _Side, other: _Side, key: Path) -> Iterator[tuple[Path, _Side, _Side]]:
    a, b = one.value, other.value
    if a == b and type(a) is type(b):
        return
    if isinstance(a, dict) and isinstance(b, dict) and a.get("name") == b.get("name"):
        for step in dict.fromkeys([*a, *b]):
            mine, theirs = (side.child(step) if step in side.value else _Side(None, None) for side in (one, other))
            yield from _pairs(mine, theirs, (*key, step))
    elif (names := _names(a)) is not None and (others := _names(b)) is not None:
        for name in dict.fromkeys([*names, *others]):
            both = ((one, names), (other, others))
            mine, theirs = (side.child(of.index(name)) if name in of else _Side(None, None) for side, of in both)
            yield from _pairs(mine, theirs, (*key, name))
    else:
        yield key, one, other


def _names(value: object) -> list[str] | None:
    """The components of a list, where each is another one; None where it is no such list."""
    if not isinstance(value, list):
        return None
    names = [item["name"] for item in value if isinstance(item, dict) and isinstance(item.get("name"), str)]
    return names if len(names) == len(value) == len(set(names)) else None


def _said(loaded: Comparable, side: _Side) -> str:
    return ABSENT if side.path is None else f"{scalar(side.value)} ({loaded.origin_of(side.path)})"
