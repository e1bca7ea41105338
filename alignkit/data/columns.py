"""Reads the numeric data columns that components of the recipe need."""

from __future__ import annotations

import math
from collections.abc import Sequence

from alignkit.data.formats import Unusable
from alignkit.data.sources import RawRow
from alignkit.errors import DataError


def refuse_absent(rows: Sequence[RawRow], columns: frozenset[str], name: str) -> None:
    """Stops when a column that a component needs is in no row at all.

    Raises:
        DataError: names the columns wanted and those found.
    """
    found = set[str]().union(*(row.fields for row in rows))
    if absent := sorted(columns - found):
        raise DataError(
            f"{name}: no column '{absent[0]}', which the recipe's components need; columns found: "
            f"{', '.join(sorted(found)) or 'none'}"
        )


def read_columns(row: RawRow, columns: frozenset[str]) -> dict[str, float]:
    """The data columns that components need, as numbers; text counts when it is a number, as all of a CSV is text.

    Raises:
        Unusable: a column is missing, null or no finite number.
    """
    return {column: _number(row, column) for column in sorted(columns)}


def _number(row: RawRow, column: str) -> float:
    value = row.fields.get(column)
    if value is None:
        raise Unusable("null field" if column in row.fields else "missing field", f"'{column}'")
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Unusable("not a number", f"'{column}': expected a finite number, got {value!r}")
    return number
