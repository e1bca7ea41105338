"""A comparison for a terminal."""

from __future__ import annotations

from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from alignkit.compare.record import Comparison, Line
from alignkit.compare.words import explained, probability, shown_difference, shown_value, shown_visible
from alignkit.errors import LINE_LENGTH, printable
from alignkit.report.wrapping import wrapped

LONGEST_HEAD = 9
"""Letters of a method's name from which columns are called `base` and `other`; the line above the table has both."""


def show(console: Console, comparison: Comparison) -> None:
    """A table for each method that is compared, a sentence for each measure, and notes."""
    for (base, other), lines in groupby(comparison.lines, key=lambda line: (line.base, line.other)):
        console.print(Text(printable(f"{other} against {base}", LINE_LENGTH), style="bold"), soft_wrap=True)
        of_pair = list(lines)
        console.print(_table(of_pair, base, other))
        for line in of_pair:
            said = wrapped(printable(f"- {line.label}: {line.sentence}", LINE_LENGTH), console.width, "  ")
            console.print(Text(said), soft_wrap=True)
        console.print()
    for note in [*explained(comparison), *comparison.notes]:
        console.print(Text(wrapped(printable(note, LINE_LENGTH), console.width, "  "), style="dim"), soft_wrap=True)


def _table(lines: list[Line], base: str, other: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False, show_edge=False)
    table.add_column("measure", overflow="fold", min_width=10)
    table.add_column("items", justify="right", no_wrap=True)
    names = (base, other) if max(len(base), len(other)) <= LONGEST_HEAD else ("base", "other")
    for column in (*names, "difference", "p", "visible"):
        table.add_column(Text(printable(column)), justify="right", no_wrap=True)
    for line in lines:
        table.add_row(
            Text(printable(line.label)),
            _items(line),
            shown_value(line, line.base_value),
            shown_value(line, line.other_value),
            "\n".join(filter(None, shown_difference(line))),
            probability(line.p_holm),
            shown_visible(line),
        )
    return table


def _items(line: Line) -> str:
    """How many; in how many clusters, where they have some."""
    return f"{line.items:,}" + (f"\nin {line.clusters:,}" if line.clusters < line.items else "")
