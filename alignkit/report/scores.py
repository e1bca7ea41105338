"""The numbers of one evaluation, each with its standard error and interval."""

from __future__ import annotations

from collections.abc import Mapping

from rich.box import ROUNDED
from rich.table import Table

from alignkit.records.evaluation_record import Score


def score_table(results: Mapping[str, Score]) -> Table:
    """A row for each number; one without a standard error is a count, or comes of a single item."""
    table = Table(box=ROUNDED)
    table.add_column("measure", overflow="fold")
    for column in ("items", "mean", "95 % interval"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, score in results.items():
        value = "not a number" if score.value is None else f"{score.value:.3f}"
        error = "" if score.se is None else f" +-{score.se:.3f}"
        ends = "" if score.low is None or score.high is None else f"{score.low:.3f} to {score.high:.3f}"
        ends = "no spread" if score.se == 0 else ends  # which tells nothing of how sure a number is
        table.add_row(name, "" if score.n is None else f"{score.n:,}", value + error, ends)
    return table
