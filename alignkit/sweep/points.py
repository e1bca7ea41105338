"""The points of a sweep: which settings each of its runs has."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import product
from random import Random as Generator

from alignkit.recipe.tree import Node
from alignkit.seeds import derive
from alignkit.sweep.config import Random, Range

Settings = Mapping[str, Node]
"""Dotted key -> value, with the place that gives it."""

DIGITS = 4
"""Significant digits of a drawn number: what tables and folders show is what was run."""


def grid_points(grid: Node | None) -> Iterator[Settings]:
    """All combinations of a grid's values, the last key the fastest; one empty point of no grid."""
    lists = {} if grid is None else {key: node.value for key, node in grid.value.items()}
    for values in product(*lists.values()):
        yield dict(zip(lists, values, strict=True))


def drawn_points(random: Random | None, node: Node | None) -> Iterator[Settings]:
    """The draws of a sweep; one empty point where nothing is drawn.

    Each value has a seed of its own, so more draws or another key leave the others as they were.

    Args:
        random: what is drawn.
        node: the same where it was written.
    """
    if random is None or node is None:
        yield {}
        return
    of = node.value["of"].value
    for number in range(random.draws):
        generators = {key: Generator(derive(random.seed, f"sweep {key}", number)) for key in random.of}
        yield {key: _drawn(generators[key], choice, of[key]) for key, choice in random.of.items()}


def _drawn(generator: Generator, choice: list[object] | Range, node: Node) -> Node:
    if isinstance(choice, Range):
        return Node(_number(generator, choice), node.place)
    chosen: Node = generator.choice(node.value)
    return chosen


def _number(generator: Generator, range_: Range) -> float | int:
    ends = (math.log(range_.low), math.log(range_.high)) if range_.log else (range_.low, range_.high)
    drawn = generator.uniform(*ends)
    value = math.exp(drawn) if range_.log else drawn
    value = min(max(value, range_.low), range_.high)
    return round(value) if range_.whole else float(f"{value:.{DIGITS}g}")
