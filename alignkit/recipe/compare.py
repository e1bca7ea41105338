"""What two recipes do differently, value by value, each with who said so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from alignkit.errors import RecipeError, shown
from alignkit.recipe.load import LoadedRecipe
from alignkit.recipe.pipeline import LoadedPipeline
from alignkit.recipe.render import scalar
from alignkit.recipe.stages import STAGES_KEY
from alignkit.recipe.tree import Path, dotted

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


@dataclass(frozen=True)
class _Side:
    """A value, and its path in its own recipe; no path where it has none."""

    value: Any
    path: Path | None

    def child(self, step: str | int) -> _Side:
        return _Side(self.value[step], (*(self.path or ()), step))


def compare(first: LoadedRecipe | LoadedPipeline, second: LoadedRecipe | LoadedPipeline) -> Iterator[Differing]:
    """All differences, in the order of a recipe's keys. A component that another one stands for is one difference.

    Raises:
        RecipeError: one of them has stages and the other has none.
    """
    if isinstance(first, LoadedPipeline) and isinstance(second, LoadedPipeline):
        yield from _compare_stages(first, second)
    elif isinstance(first, LoadedRecipe) and isinstance(second, LoadedRecipe):
        yield from _compare(first, second)
    else:
        staged, single = (first, second) if isinstance(first, LoadedPipeline) else (second, first)
        names = ", ".join(staged.stages) if isinstance(staged, LoadedPipeline) else ""
        raise RecipeError(f"{shown(str(staged.path))} has stages ({names}), {shown(str(single.path))} has none")


def _compare_stages(first: LoadedPipeline, second: LoadedPipeline) -> Iterator[Differing]:
    for name in dict.fromkeys([*first.stages, *second.stages]):
        one, other = (loaded.stages.get(name) for loaded in (first, second))
        if one and other:
            yield from (replace(found, key=dotted((STAGES_KEY, name, found.key))) for found in _compare(one, other))
        else:
            yield Differing(dotted((STAGES_KEY, name)), *(_stage_said(side) for side in (one, other)))
    orders = [
        [name for name in loaded.stages if name in first.stages and name in second.stages] for loaded in (first, second)
    ]
    if orders[0] != orders[1]:
        yield Differing(STAGES_KEY, *map(scalar, orders))


def _stage_said(loaded: LoadedRecipe | None) -> str:
    return f"a stage ({loaded.root.place})" if loaded else ABSENT


def _compare(first: LoadedRecipe, second: LoadedRecipe) -> Iterator[Differing]:
    for key, one, other in _pairs(_Side(first.tree(), ()), _Side(second.tree(), ()), ()):
        yield Differing(dotted(key), _said(first, one), _said(second, other))


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


def _said(loaded: LoadedRecipe, side: _Side) -> str:
    return ABSENT if side.path is None else f"{scalar(side.value)} ({loaded.origin_of(side.path)})"
