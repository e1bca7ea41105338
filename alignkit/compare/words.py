"""What a difference means, in a sentence for who has never seen a p-value, and its numbers as a table has them."""

from __future__ import annotations

import math

from alignkit.compare.record import Comparison, Line

MOST_DIGITS = 5
"""After the point; what needs more is written with a power of ten."""


def sentence(line: Line, level: float) -> str:
    """Better, worse, more, less, or no difference seen and what would have been seen."""
    if line.items == 0:
        return "no item has a number in both"
    if line.difference is None:
        return "not comparable: some of the numbers are not finite"
    if line.difference == 0 and line.se == 0:
        return "the two are equal, item by item" if line.over == "items" else "the two are equal"
    if line.low is None or line.high is None:
        return f"{_direction(line)} by {amount(line, line.difference)}; one item or prompt alone tells no more"
    if line.p_holm is None:
        return f"{_direction(line)} by {amount(line, line.difference)} each time, so there is no spread to judge by"
    alpha = 1 - level
    if line.p_holm < alpha:
        low, high = (line.low, line.high) if line.difference > 0 else (-line.high, -line.low)
        within = f"{100 * level:g} % interval {moved(line, low)} to {moved(line, high)}"
        return f"{_direction(line)} by {amount(line, line.difference)}, {within}"
    if line.p is not None and line.p < alpha:
        return (
            f"{_direction(line)} by {amount(line, line.difference)}, which may be chance among so many comparisons "
            f"(p {probability(line.p)} alone, {probability(line.p_holm)} among all)"
        )
    seen = "" if line.smallest_visible is None else f"; one of {amount(line, line.smallest_visible)} {_SEEN}"
    return f"no difference seen{seen}"


_SEEN = "would have been seen in 4 of 5 such comparisons"


def _direction(line: Line) -> str:
    assert line.difference is not None, "asked of a difference that is known"
    rose = line.difference > 0
    if line.better is None:
        return f"{line.other} is {'higher' if rose else 'lower'}"
    return f"{line.other} is {'better' if rose == (line.better == 'higher') else 'worse'}"


def amount(line: Line, value: float) -> str:
    """The size of a difference with its unit: `3.1 points`, `0.042`."""
    return f"{moved(line, abs(value))} points" if line.is_share else moved(line, abs(value))


def moved(line: Line, value: float, sign: str = "") -> str:
    """A difference, or an end of its interval, with two digits of its standard error; `sign` may be `+`."""
    unit, least = (100, 1) if line.is_share else (1, line.digits)
    known = 1 - math.floor(math.log10(unit * line.se)) if line.se else least
    form = f"{max(known, least)}f" if known <= MOST_DIGITS else "1e"
    return f"{unit * value:{sign}.{form}}"


def shown_value(line: Line, value: float | None) -> str:
    """What one method has."""
    if value is None:
        return "-"
    return f"{100 * value:.1f} %" if line.is_share else f"{value:.{line.digits}f}"


def shown_difference(line: Line) -> tuple[str, str]:
    """The difference and its interval; no interval where there is none, or no spread."""
    if line.difference is None:
        return "-", ""
    if line.low is None or line.high is None or not line.se:
        return moved(line, line.difference, "+"), ""
    return moved(line, line.difference, "+"), f"{moved(line, line.low, '+')} to {moved(line, line.high, '+')}"


def shown_visible(line: Line) -> str:
    """The smallest visible effect."""
    return "-" if line.smallest_visible is None else moved(line, line.smallest_visible)


def probability(p: float | None) -> str:
    """A p-value with as many digits as matter."""
    if p is None:
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def explained(comparison: Comparison) -> list[str]:
    """What the columns are."""
    notes = [
        f"difference: other - base on the same items, with its {100 * comparison.level:g} % interval; shares of items "
        "differ by points, hundredths",
        f"p: after Holm's correction, as {comparison.family} differences were looked at",
        "visible: the smallest true difference that 4 of 5 such comparisons would have seen, each alone",
    ]
    if any(line.clusters < line.items for line in comparison.lines):
        notes.append("in N: the items have so many prompts or other clusters; items of one are not independent")
    return notes
