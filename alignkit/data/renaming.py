"""Columns that the data calls otherwise than alignkit does: `data.columns`, and a line of it to start from."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from alignkit.data.raw import Columns, RawRow, columns_of
from alignkit.errors import DataError
from alignkit.registry import nearest_of, suggestion

Names = Mapping[str, str]
"""What alignkit calls a column -> what the data calls it."""

UNKNOWN = "COLUMN"
"""Stands in a line of `data.columns` for a column that is to be filled in."""

_LIKELY: Mapping[str, tuple[str, ...]] = {
    "prompt": (
        *("question", "instruction", "query", "problem", "task", "trajectory", "context", "input", "user"),
        *("conversation", "history", "post", "prompts"),
    ),
    "chosen": (
        *("chosen_response", "response_chosen", "answer_chosen", "preferred", "response_j", "accepted", "winner"),
        *("better", "positive", "good"),
    ),
    "rejected": (
        *("rejected_response", "response_rejected", "answer_rejected", "dispreferred", "response_k", "loser"),
        *("worse", "negative", "bad"),
    ),
    "completion": ("response", "answer", "output", "solution", "reply", "target", "generation", "text"),
    "label": ("kto_tag", "desirable", "is_good", "thumbs_up", "accepted", "feedback"),
    "messages": ("conversations", "conversation", "dialogue", "dialog", "turns"),
}


def theirs(columns: Columns, names: Names) -> Columns:
    """The columns as the data calls them."""
    return None if columns is None else {names.get(column, column) for column in columns}


def renamed(rows: Sequence[RawRow], names: Names, source: str) -> list[RawRow]:
    """The rows with their columns under alignkit's names.

    A column of the data that has such a name itself makes room, and counts as one that nothing reads. Columns that were
    not read keep their names.

    Raises:
        DataError: no row has a column that is named.
    """
    if not names or all(row.unread for row in rows):
        return list(rows)
    found = columns_of(rows)
    for ours, other in names.items():
        if other not in found:
            raise DataError(
                f"{source}: no column '{other}', which data.columns names as '{ours}'; "
                f"{suggestion(other, sorted(found), 'columns found')}"
            )
    back = {other: ours for ours, other in names.items()}
    return [
        replace(
            row,
            fields={back.get(key, key): value for key, value in row.fields.items() if key in back or key not in names},
            given=row.fields,
        )
        for row in rows
    ]


def unused(rows: Iterable[RawRow], used: Iterable[str], names: Names) -> tuple[str, ...]:
    """The data's own names of the columns that nothing reads."""
    found = set[str]().union(*(row.given or row.fields for row in rows), *(row.others for row in rows))
    return tuple(filter(None, sorted(found.difference(names.get(column, column) for column in used))))


def refuse_unread(names: Names, read: Collection[str], place: str = "data.columns") -> None:
    """Stops at a name that stands for no column.

    Raises:
        DataError: names it, and those that there are.
    """
    for ours in names:
        if ours not in read:
            raise DataError(
                f"{place}.{ours}: nothing reads a column '{ours}'; {suggestion(ours, sorted(read))}; the "
                "data's own name is the value"
            )


def line_to_start(wanted: Iterable[str], found: Collection[str], given: Names) -> str:
    """`data.columns: {prompt: question, ...}`: what is given, and what is not there, as far as names tell."""
    free = sorted(name for name in found if name not in wanted)
    names = dict(given)
    for ours in (name for name in wanted if name not in found):
        names[ours] = _likely(ours, free) or UNKNOWN
        free = [name for name in free if name != names[ours]]
    return line_of(names)


def line_of(names: Names) -> str:
    """`data.columns` as a line of a recipe."""
    return f"data.columns: {{{', '.join(f'{ours}: {_yaml(other)}' for ours, other in names.items())}}}"


def _likely(ours: str, found: Sequence[str]) -> str | None:
    lower = {name.lower(): name for name in found}
    known = next((lower[name] for name in _LIKELY.get(ours, ()) if name in lower), None)
    if known is not None:
        return known
    parted = (name for name in found if ours in re.split(r"[^a-z]+", name.lower()))
    return next(parted, None) or nearest_of(ours, found)


def _yaml(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_][\w-]*", name) else json.dumps(name)
