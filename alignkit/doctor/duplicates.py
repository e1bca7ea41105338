"""Rows that repeat others word for word."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from alignkit.doctor.base import Check, Finding, warn_if
from alignkit.doctor.case import Case, Row

MOST = 0.01
"""Share of rows that repeat an earlier one, from which a finding warns."""


class Duplicates(Check):
    """Rows that repeat an earlier one: the whole row, its prompt and chosen response, or its prompt alone.

    A repeated response is imitated, or pushed away, that many times more often than the count of rows says. More than
    1 % of repeated rows, or of repeated (prompt, chosen), warns; several rows of one prompt are usual and reported.
    """

    def findings(self, case: Case) -> Iterator[Finding]:
        rows = case.rows
        answered = [row for row in rows if row.responses]
        whole = _repeated(answered, [(row.prompt, *row.responses.values(), row.example.label) for row in answered])
        if whole:
            yield self.finding(
                "whole rows",
                warn_if(len(whole) > MOST * len(rows)),
                whole,
                len(rows),
                "Rows repeat an earlier one whole, so they count double and the data is smaller than it looks; take "
                "them out of the data.",
                key="data.train",
            )
        pairs = [pair.row for pair in case.pairs]
        first = _repeated(pairs, [(pair.row.prompt, pair.chosen) for pair in case.pairs])
        if first:
            yield self.finding(
                "prompt and chosen",
                warn_if(len(first) > MOST * len(pairs)),
                first,
                len(pairs),
                "Pairs share prompt and chosen response with an earlier pair, so there are fewer different chosen "
                "responses than rows: take fewer steps, or fewer pairs of each.",
                key="training.steps",
            )
        asked = [row for row in rows if row.prompt.strip()]
        prompts = _repeated(asked, [row.prompt for row in asked])
        if prompts:
            yield self.finding(
                "prompts",
                "report",
                prompts,
                len(asked),
                "Rows share their prompt with an earlier one; they stay on one side of the split, and standard errors "
                "that count rows are too small.",
                key="data.holdout",
            )


def _repeated(rows: Sequence[Row], keys: Sequence[Hashable]) -> list[str]:
    """Places of the rows whose key an earlier row had."""
    seen: set[Hashable] = set()
    places = []
    for row, key in zip(rows, keys, strict=True):
        if key in seen:
            places.append(row.where)
        seen.add(key)
    return places
