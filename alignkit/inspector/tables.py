"""Tables of numbers of which some are not known."""

from __future__ import annotations

import math
from collections.abc import Sequence

from alignkit.page import Child, Element, table

Cells = Sequence[Child | float]

DIGITS = 3
"""After the point."""


def known_table(head: Sequence[str], rows: Sequence[Cells], caption: str) -> Element:
    """A table without the columns that nothing is known of."""
    used = [index for index in range(len(head)) if any(not _is_nan(row[index]) for row in rows)]
    cells = [[row[index] for index in used] for row in rows]
    return table([head[index] for index in used], cells, caption, DIGITS)


def mean(values: Sequence[float]) -> float:
    """Of those that are known; NaN where none is."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def _is_nan(cell: Child | float) -> bool:
    return isinstance(cell, float) and math.isnan(cell)
