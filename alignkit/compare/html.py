"""A comparison as a page that is one file."""

from __future__ import annotations

from itertools import groupby

from alignkit import page
from alignkit.compare.record import Comparison, Line
from alignkit.compare.words import explained, probability, shown_difference, shown_value, shown_visible

_FIRST = ("measure", "items", "clusters")
_LAST = ("difference", "interval", "around 0", "p alone", "p", "visible", "meaning")

_HALF = 60
"""Half of a drawing, in units of its view box."""


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
        _drawn(line),
        f"{probability(line.p)} ({'McNemar' if line.test == 'mcnemar' else 't'})",
        probability(line.p_holm),
        shown_visible(line),
        line.sentence,
    ]


def _drawn(line: Line) -> page.Child:
    """The interval beside 0, on a scale of its own; its numbers are in the cells before it."""
    if line.low is None or line.high is None or line.difference is None or not line.se:
        return ""
    unit = _HALF / max(abs(line.low), abs(line.high))
    zero = page.element("path", d="M0 -8V8", class_="axis")
    bar = page.element("path", d=f"M{unit * line.low:.1f} 0H{unit * line.high:.1f}", class_="line s0")
    dot = page.element("circle", cx=round(unit * line.difference, 1), cy=0, r=3.5, class_="mark s0")
    box = f"{-_HALF - 5} -9 {2 * _HALF + 10} 18"
    return page.element("svg", zero, bar, dot, viewBox=box, width=90, height=13, aria_hidden="true")
