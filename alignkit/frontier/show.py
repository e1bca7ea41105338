"""Frontiers as a page, a drawing, and a table in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import ROUNDED
from rich.console import Console
from rich.table import Table

from alignkit.frontier.curves import GRID, best_reward
from alignkit.frontier.frontier import Frontier
from alignkit.frontier.words import cell, how, sentences
from alignkit.lazy import numpy as np
from alignkit.page import Element, Series, document, element, lines, table
from alignkit.progress.display import note

MARGIN = 0.05
"""Of the drawn range of rewards, above and below all points: a wide band does not make the curves flat."""


def page(found: Frontier, title: str) -> str:
    """The whole page."""
    body = [
        element("h1", f"Frontiers: {title}"),
        element("ul", *(element("li", sentence) for sentence in sentences(found))),
        drawing(found),
        *_differences(found),
        _places(found),
        element("h2", "How this was computed"),
        element("ul", *(element("li", sentence) for sentence in how(found))),
    ]
    if found.left_out:
        body += [element("h2", "Left out"), element("ul", *(element("li", one) for one in found.left_out))]
    return document(f"Frontiers: {title}", body)


def drawing(found: Frontier) -> Element:
    """Reward over cost: of each arm its points, its frontier and the band around it; the best possible one."""
    rewards = [place.reward.value for place in found.places]
    curves = [value for arm in found.arms if arm.curve for value in arm.curve.reward]
    best = list(_best(found))
    values = [*rewards, *curves, *(value for one in best for value in one.y)]
    return lines(
        [*_frontiers(found), *best],
        f"{found.cost}, nats" if found.cost == "kl" else found.cost,
        found.reward,
        caption=f"{found.reward} over {found.cost} with bands that hold whole curves with 95 % probability",
        y_limits=(min(values) - MARGIN, max(values) + MARGIN),
        height=420,
    )


def _frontiers(found: Frontier) -> Iterator[Series]:
    for place, arm in enumerate(found.arms):
        points = [one for one in found.places if one.point.arm == arm.name]
        x, y = [one.cost.value for one in points], [one.reward.value for one in points]
        names = [f"{arm.name} {one.point.label}" for one in points]
        if arm.curve:
            yield Series(arm.name, arm.curve.cost, arm.curve.reward, arm.curve.low, arm.curve.high, place=place)
        yield Series(f"{arm.name}, points", x, y, markers=True, line=False, names=names, place=place)


def _best(found: Frontier) -> Iterator[Series]:
    if found.has_best:
        cost = np.linspace(0.0, max(place.cost.value for place in found.places), GRID)
        yield Series("best possible", cost.tolist(), best_reward(cost, found.start).tolist(), place=len(found.arms))


def _differences(found: Frontier) -> Iterator[Element]:
    series = [
        Series(f"{one.arm} - {one.base}", one.curve.cost, one.curve.reward, one.curve.low, one.curve.high)
        for one in found.comparisons
    ]
    if series:
        values = [value for one in found.comparisons for value in one.curve.reward]
        yield lines(
            series,
            f"{found.cost}, nats" if found.cost == "kl" else found.cost,
            f"difference of {found.reward}",
            caption=f"Difference of {found.reward} from {found.base} at equal {found.cost}; where a band leaves out 0, "
            "the difference there is more than noise",
            y_limits=(min(0.0, *values) - MARGIN, max(0.0, *values) + MARGIN),
        )


def _head(found: Frontier) -> list[str]:
    best = ["efficiency"] if found.has_best else []
    return ["arm", "settings", found.reward, found.cost, *best]


def _rows(found: Frontier) -> Iterator[list[str]]:
    for one in found.places:
        best = [cell(one.efficiency, 2)] if found.has_best else []
        yield [one.point.arm, one.point.label, cell(one.reward), cell(one.cost), *best]


def _places(found: Frontier) -> Element:
    seeds = ", ".join(map(str, found.seeds))
    return table(_head(found), _rows(found), f"All points: means over seeds {seeds}, +- half of the 95 % interval")


def show(console: Console, found: Frontier, files: Sequence[object]) -> None:
    """The table of points, the verdicts and where the files are."""
    shown = Table(box=ROUNDED)
    for name in _head(found):
        shown.add_column(name, overflow="fold")
    for row in _rows(found):
        shown.add_row(*row)
    console.print(shown)
    for sentence in [*sentences(found), *found.left_out]:
        note(console, sentence)
    note(console, f"written: {', '.join(map(str, files))}")
