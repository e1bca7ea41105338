"""A data row as it was read, with its place for messages."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

Spans = Mapping[str, list[tuple[int, int]]]
"""Response name -> (start, end) characters."""

Columns = Collection[str] | None
"""Names of the columns to read from a source that has them apart; None for all."""


@dataclass(frozen=True)
class RawRow:
    """One row as it was read.

    Attributes:
        index: number of the row in its source, from 0.
        where: `file:line`, `file:row N` or `id:row N`, N from 1.
        fields: its columns; empty when it could not be read.
        unread: (reason, detail) when it could not be read.
        critical: characters of the planted critical words, of a source that plants them.
        others: names of columns that it has too and that nobody asked for.
        given: its columns under the data's own names, where `data.columns` renamed some.
    """

    index: int
    where: str
    fields: Mapping[str, object]
    unread: tuple[str, str] | None = None
    critical: Spans = field(default_factory=dict)
    others: tuple[str, ...] = ()
    given: Mapping[str, object] | None = None


def columns_of(rows: Iterable[RawRow]) -> set[str]:
    """Names of the columns that any of the rows has, read or not."""
    found: set[str] = set()
    for row in rows:
        found.update(row.fields, row.others)
    return found


def first_line(error: BaseException) -> str:
    """What an error says, without what follows in further lines."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (said.strip().splitlines() or [type(error).__name__])[0].rstrip(".")
