"""Takes pairs apart for a trainer that sees one response and its label at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from alignkit.data.rows import TokenRow
from alignkit.errors import DataError

ValueT = TypeVar("ValueT")


def refuse_one_sided(rows: Sequence[TokenRow], name: str) -> None:
    """Stops when labelled rows all have the same label; rows without labels pass.

    Raises:
        DataError: names the label that is there and the one that is not.
    """
    for label, missing in ((True, False), (False, True)):
        if rows and all(row.label is label for row in rows):
            raise DataError(
                f"{name}: all {len(rows)} training rows have 'label' {str(label).lower()}; this trainer needs "
                f"{'desirable' if missing else 'undesirable'} responses too: rows with 'label' {str(missing).lower()}"
            )


def unpair(rows: Sequence[TokenRow], first: int = 0) -> list[TokenRow]:
    """Two rows per pair, the chosen response as a desirable completion and the rejected one as an undesirable one.

    They are numbered 2i and 2i + 1 after pair i, counted from `first`, the number of their source's first row, and keep
    its place, its data columns and any gold response.
    """
    sides = (("chosen", True), ("rejected", False))
    return [_half(row, name, label, first) for row in rows for name, label in sides]


def _half(row: TokenRow, name: str, label: bool, first: int) -> TokenRow:
    return replace(
        row,
        index=2 * row.index - first + (not label),
        responses=_only(row.responses, name),
        critical=_only(row.critical, name),
        text=_only(row.text, name),
        label=label,
        token_columns={suffix: _only(numbers, name) for suffix, numbers in row.token_columns.items()},
    )


def _only(values: Mapping[str, ValueT], name: str) -> dict[str, ValueT]:
    """`name` as the completion, without the other response of the pair."""
    renamed = {"completion" if key == name else key: value for key, value in values.items()}
    return {key: value for key, value in renamed.items() if key not in ("chosen", "rejected")}
