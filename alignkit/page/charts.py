"""Charts as SVG: lines with bands, histograms, points; each with its numbers as a table for who cannot see it.

Colours are those of Okabe and Ito, which stay apart for the colour-blind; dash and marker say the same once more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import groupby

from alignkit.page.axes import Axis
from alignkit.page.elements import Element, element, markup, table

WIDTH, HEIGHT = 640, 300
"""Of a drawing, in units of its view box: pixels where the page is wide enough."""

LEFT, RIGHT, TOP, BOTTOM = 62, 14, 12, 44
"""Room around the plot."""

LETTER, LINE = 6.4, 17
"""About the width of a letter of the legend, and the distance of its lines."""

COLOURS = 8
"""Classes `s0` to `s7` of the style sheet."""

DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2 1 2", "12 3", "1 2", "6 2 2 2 2 2")
MARKERS = (
    "m-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0-6.4 0z",
    "m-3-3h6v6h-6z",
    "m0-4l4 7h-8z",
    "m0-4.2l4.2 4.2l-4.2 4.2l-4.2-4.2z",
    "m-3-3l6 6m0-6l-6 6",
    "m0-4v8m-4-4h8",
    "m0 4l4-7h-8z",
    "m-4-2h8v4h-8z",
)

Limits = tuple[float, float] | None


@dataclass(frozen=True)
class Series:
    """Numbers that belong together, of one colour.

    Attributes:
        label: what they are.
        x: one number per point.
        y: one number per point; NaN interrupts the line.
        low: lower edge of a band around the line.
        high: upper edge.
        markers: whether each point has a mark.
        line: whether points are joined.
        names: what each point is, shown where the pointer rests on its mark.
        place: the series whose colour, dash and mark it has; None for those of its own place.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    markers: bool = False
    line: bool = True
    names: Sequence[str] | None = None
    place: int | None = None


def lines(
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    *,
    caption: str = "",
    x_limits: Limits = None,
    y_limits: Limits = None,
    width: int = WIDTH,
    height: int = HEIGHT,
) -> Element:
    """A chart of lines, each with its band if it has one, and its numbers below it.

    Args:
        series: at least one; they keep their colour, dash and marker by their place.
        x_label: what x is, with its unit.
        y_label: what y is, with its unit.
        caption: what the chart shows.
        x_limits: ends of the axis; None takes round numbers around the data.
        y_limits: the same of y.
        width: of the drawing.
        height: of the drawing, legend included.
    """
    drawing = _drawing(series, (x_label, y_label), caption, (x_limits, y_limits), (width, height))
    return _figure(drawing, caption, table(*_numbers(series, x_label, y_label)))


def histogram(
    groups: Mapping[str, Sequence[float]],
    x_label: str,
    *,
    bins: int = 30,
    caption: str = "",
    x_limits: Limits = None,
    width: int = WIDTH,
    height: int = HEIGHT,
) -> Element:
    """How numbers are spread, as shares of each group, so that groups of other sizes can be compared.

    Args:
        groups: label -> numbers, none of them NaN or infinite.
        x_label: what they are, with their unit.
        bins: how many, all of one width.
        caption: what the chart shows.
        x_limits: ends of the axis, to which what lies beyond is counted; None takes the data's.
        width: of the drawing.
        height: of the drawing, legend included.
    """
    everything = [value for values in groups.values() for value in values]
    axis = Axis.over(everything, 0, bins, x_limits)
    shares = {label: _shares(values, axis, bins) for label, values in groups.items()}
    edges = [axis.low + (axis.high - axis.low) * index / bins for index in range(bins + 1)]
    steps = [_steps(label, edges, share) for label, share in shares.items()]
    size = (width, height)
    drawing = _drawing(steps, (x_label, "share, %"), caption, ((axis.low, axis.high), None), size)
    rows: Iterator[list[str | float]] = (
        [f"{edges[i]:.4g} to {edges[i + 1]:.4g}", *(s[i] for s in shares.values())] for i in range(bins)
    )
    return _figure(drawing, caption, table([x_label, *(f"{label}, %" for label in shares)], rows))


def svg_file(figure: Element) -> str:
    """The drawing of a chart as the content of an SVG file, which needs no page around it."""
    drawing = figure.find("svg")
    assert drawing is not None, "a chart of this module holds one"
    style = element("style", files(__package__).joinpath("chart.css").read_text(encoding="utf-8"))
    whole = element("svg", style, *drawing, xmlns="http://www.w3.org/2000/svg", **drawing.attrib)
    return markup(whole) + "\n"


def _shares(values: Sequence[float], axis: Axis, bins: int) -> list[float]:
    """Percent of the values in each bin."""
    counts = [0] * bins
    for value in values:
        place = (value - axis.low) / (axis.high - axis.low) * bins
        counts[min(max(int(place), 0), bins - 1)] += 1
    return [100 * count / max(1, len(values)) for count in counts]


def _steps(label: str, edges: Sequence[float], shares: Sequence[float]) -> Series:
    x = [edge for edge in edges for _ in range(2)]
    y = [0.0, *(share for share in shares for _ in range(2)), 0.0]
    return Series(label, x, y, low=[0.0] * len(y), high=y)


def _figure(drawing: Element, caption: str, numbers: Element) -> Element:
    twin = element("details", element("summary", "numbers"), numbers)
    title = [element("figcaption", caption)] if caption else []
    return element("figure", *title, drawing, twin, class_="chart")


def _numbers(series: Sequence[Series], x_label: str, y_label: str) -> tuple[list[str], list[list[str | float]]]:
    """Head and rows of the table below a chart."""
    has_band, has_names = any(one.low for one in series), any(one.names for one in series)
    rows: list[list[str | float]] = []
    for one in series:
        for index, (x, y) in enumerate(zip(one.x, one.y, strict=True)):
            band = [edge[index] if edge else math.nan for edge in (one.low, one.high)] if has_band else []
            name = [one.names[index] if one.names else ""] if has_names else []
            rows.append([one.label, *name, x, y, *band])
    names, band_names = ["point"] if has_names else [], ["low", "high"] if has_band else []
    return ["series", *names, x_label, y_label, *band_names], rows


def _drawing(
    series: Sequence[Series],
    labels: tuple[str, str],
    caption: str,
    limits: tuple[Limits, Limits],
    size: tuple[int, int],
) -> Element:
    width, height = size
    legend, rows = _legend(series, width) if len(series) > 1 else ([], 0)
    top = TOP + rows * LINE
    across = Axis.over((x for one in series for x in one.x), LEFT, width - RIGHT, limits[0])
    heights = (y for one in series for y in (*one.y, *(one.low or ()), *(one.high or ())))
    up = Axis.over(heights, height - BOTTOM, top, limits[1])
    drawn = [part for place, one in enumerate(series) for part in _drawn(one, _place(one, place), across, up)]
    said = caption or f"{labels[1]} by {labels[0]}"
    names = f"{said}: {', '.join(one.label for one in series)}" if len(series) > 1 else said
    made = element("svg", *_grid(across, up, labels), *drawn, *legend, role="img", aria_label=names)
    made.attrib |= {"viewBox": f"0 0 {width} {height}", "width": str(width), "height": str(height)}
    return made


def _grid(across: Axis, up: Axis, labels: tuple[str, str]) -> Iterator[Element]:
    left, right, bottom, top = across.start, across.end, up.start, up.end
    for y, text in up.ticks():
        yield element("path", d=f"M{left:g} {y:g}H{right:g}", class_="grid")
        yield element("text", text, x=left - 6, y=y + 4, class_="tick end")
    for x, text in across.ticks():
        yield element("path", d=f"M{x:g} {bottom:g}v4", class_="axis")
        yield element("text", text, x=x, y=bottom + 17, class_="tick middle")
    yield element("path", d=f"M{left:g} {top:g}V{bottom:g}H{right:g}", class_="axis")
    yield element("text", labels[0], x=(left + right) / 2, y=bottom + 36, class_="label middle")
    y = (top + bottom) / 2
    yield element("text", labels[1], x=14, y=y, transform=f"rotate(-90 14 {y:g})", class_="label middle")


def _place(one: Series, place: int) -> int:
    return place if one.place is None else one.place


def _drawn(one: Series, place: int, across: Axis, up: Axis) -> Iterator[Element]:
    points = [(across.at(x), up.at(y)) if math.isfinite(x + y) else None for x, y in zip(one.x, one.y, strict=True)]
    if one.low is not None and one.high is not None:
        edges = [e for e in zip(one.x, one.low, one.high, strict=True) if all(map(math.isfinite, e))]
        there = [(across.at(x), up.at(high)) for x, _, high in edges]
        back = [(across.at(x), up.at(low)) for x, low, _ in reversed(edges)]
        yield element("path", d=_path([*there, *back]) + "z", class_=f"band s{place % COLOURS}")
    if one.line:
        parts = (list(part) for is_there, part in groupby(points, lambda point: point is not None) if is_there)
        yield _line("".join(_path([point for point in part if point is not None]) for part in parts), place)
    if one.markers:
        yield from _marks(one, points, place)


def _line(path: str, place: int) -> Element:
    dash = DASHES[place % len(DASHES)] or None
    return element("path", d=path, class_=f"line s{place % COLOURS}", stroke_dasharray=dash)


def _marks(one: Series, points: Sequence[tuple[float, float] | None], place: int) -> Iterator[Element]:
    mark, kind = MARKERS[place % len(MARKERS)], f"mark s{place % COLOURS}"
    if one.names is None:
        yield element("path", d="".join(f"M{p[0]:g} {p[1]:g}{mark}" for p in points if p), class_=kind)
        return
    for point, name in zip(points, one.names, strict=True):
        if point:
            yield element("path", element("title", name), d=f"M{point[0]:g} {point[1]:g}{mark}", class_=kind)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points) if points else ""


def _legend(series: Sequence[Series], width: int) -> tuple[list[Element], int]:
    """Its elements, and how many lines it takes."""
    drawn: list[Element] = []
    x, row = float(LEFT), 0
    for number, one in enumerate(series):
        place = _place(one, number)
        room = 36 + LETTER * len(one.label)
        if x + room > width - RIGHT and x > LEFT:
            x, row = float(LEFT), row + 1
        y = float(TOP + row * LINE)
        if one.line:
            drawn.append(_line(f"M{x:g} {y:g}h22", place))
        if one.markers:
            drawn += _marks(replace(one, names=None), [(x + 11, y)], place)
        drawn.append(element("text", one.label, x=x + 28, y=y + 4, class_="tick"))
        x += room
    return drawn, row + 1
