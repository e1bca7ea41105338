"""Reads the numeric data columns that components of the recipe need: one number per row, or one per response token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from alignkit.data.fields import Unusable, cut, shown
from alignkit.data.json_rows import parse_json
from alignkit.data.raw import RawRow, columns_of
from alignkit.errors import DataError
from alignkit.lazy import numpy

if TYPE_CHECKING:
    import numpy as np

_LARGEST = 3.4028234663852886e38
"""Largest float32: what is beyond it would become infinite."""


def refuse_absent(rows: Sequence[RawRow], columns: frozenset[str], name: str, responses: Sequence[str] = ()) -> None:
    """Stops when a column that a component needs, or a gold response among the `responses`, is in no row at all.

    Raises:
        DataError: names the columns wanted and those found.
    """
    if all(row.unread for row in rows):
        return  # each row says what is wrong with it
    found = columns_of(rows)
    gold = {"gold"}.intersection(responses)
    if absent := sorted((columns | gold) - found):
        is_gold = bool(gold - found)
        instead = "; with pairs alone use loss 'cpo', which imitates the chosen response" if is_gold else ""
        raise DataError(
            f"{name}: no column '{absent[0]}', which the recipe's components need; columns found: "
            f"{', '.join(sorted(found)) or 'none'}{instead}"
        )


def read_columns(row: RawRow, columns: frozenset[str], nonnegative: frozenset[str] = frozenset()) -> dict[str, float]:
    """The data columns that components need, as numbers; text counts when it is a number, as all of a CSV is text.

    Raises:
        Unusable: a column is missing, null or no finite number, or one of `nonnegative` is less than 0.
    """
    numbers = {column: _number(row, column) for column in sorted(columns)}
    for column in sorted(nonnegative):
        if numbers[column] < 0:
            raise Unusable("negative number", f"'{column}': expected a number >= 0, got {numbers[column]:g}")
    return numbers


def read_fields(row: RawRow, columns: frozenset[str], where_given: frozenset[str]) -> dict[str, object]:
    """Data columns as they are; one of `where_given` alone that is not there is None.

    Raises:
        Unusable: another column is missing or null.
    """
    return {column: row.fields.get(column) for column in sorted(where_given)} | {
        column: _given(row, column) for column in sorted(columns)
    }


def read_token_columns(
    row: RawRow, suffixes: frozenset[str], responses: Sequence[str]
) -> dict[str, dict[str, np.ndarray]]:
    """Suffix -> response name -> [N] float32, from the columns `token_column` names; JSON text counts, as in a CSV.

    Raises:
        Unusable: a column is missing, null or no list of finite numbers >= 0. How many there must be, only the tokens
            will show.
    """
    return {
        suffix: {name: _numbers(row, token_column(name, suffix)) for name in responses} for suffix in sorted(suffixes)
    }


def token_column(response: str, suffix: str) -> str:
    """The data column with one number per token of a response."""
    return f"{response}{suffix}"


def _given(row: RawRow, column: str) -> object:
    value = row.fields.get(column)
    if value is None:
        raise Unusable("null field" if column in row.fields else "missing field", f"'{column}'")
    return value


def _numbers(row: RawRow, column: str) -> np.ndarray:
    given = _given(row, column)
    try:
        values = parse_json(given, column) if isinstance(given, str) else given
    except Unusable:
        values = None
    if not isinstance(values, list):
        raise Unusable("wrong type", f"'{column}': expected a list of numbers, got {shown(given)}")
    for place, value in enumerate(values, start=1):
        is_number = type(value) in (int, float)  # a bool is none
        if not (is_number and 0 <= value <= _LARGEST):
            reason = "negative number" if is_number and value < 0 else "not a number"
            raise Unusable(reason, f"'{column}', number {place}: expected a finite number >= 0, got {cut(repr(value))}")
    return numpy.array(values, dtype=numpy.float32)


def _number(row: RawRow, column: str) -> float:
    value = _given(row, column)
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):  # an integer can be beyond every float
        number = math.nan
    if not math.isfinite(number):
        raise Unusable("not a number", f"'{column}': expected a finite number, got {cut(repr(value))}")
    return number
