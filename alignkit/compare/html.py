"""A comparison as a page that is one file."""

from __future__ import annotations

from itertools import groupby

from alignkit import page
from alignkit.compare.record import Comparison, Line
from alignkit.compare.words import explained, probability, shown_difference, shown_value, shown_visible

_FIRST, _LAST = ("measure", "items", "clusters"), ("difference", "interval", "p alone", "p", "visible", "meaning")


def html(comparison: Comparison) -> str:
    """The page."""
    title = " against ".join(one.name for one in reversed(comparison.methods[:2]))
    more = len(comparison.methods) - 2
    body = [
        page.element("h1", f"{title}{f' and {more} more' if more > 0 else ''}"),
        page.element("p", "The first method with each of the others, on the same items."),
        _methods(comparison),
    ]
    for (base, other), lines in groupby(comparison.lines, key=lambda line: (line.base, line.other)):
        body += [
            page.element("h2", f"{other} against {base}"),
            page.table((*_FIRST, base, other, *_LAST), map(_row, lines)),
        ]
    notes = [*explained(comparison), *comparison.notes]
    body.append(page.element("ul", *(page.element("li", note) for note in notes)))
    return page.document(title, body)


def _methods(comparison: Comparison) -> page.Element:
    rows = [
        (one.name, ", ".join(one.folders), ", ".join("-" if seed is None else str(seed) for seed in one.seeds))
        for one in comparison.methods
    ]
    return page.table(("method", "folders", "seeds"), rows)


def _row(line: Line) -> list[page.Child | float]:
    difference, ends = shown_difference(line)
    return [
        line.label,
        float(line.items),
        float(line.clusters),
        *(shown_value(line, value) for value in (line.base_value, line.other_value)),
        difference,
        ends,
        f"{probability(line.p)} ({'McNemar' if line.test == 'mcnemar' else 't'})",
        probability(line.p_holm),
        shown_visible(line),
        line.sentence,
    ]
