"""Pairs whose responses say the same."""

from __future__ import annotations

from collections.abc import Iterator

from alignkit.doctor.base import Check, Finding
from alignkit.doctor.case import Case


class SameResponse(Check):
    """Pairs whose two responses differ in case or white space only.

    Responses that differ in nothing are refused anyway, and counted with the rows that cannot be used.
    """

    def findings(self, case: Case) -> Iterator[Finding]:
        same = [pair.row.where for pair in case.pairs if _bare(pair.chosen) == _bare(pair.rejected)]
        if same:
            yield self.finding(
                "case or white space only",
                "error",
                same,
                len(case.pairs),
                "Chosen and rejected say the same, so the pair teaches letters or blanks; take it out of the data.",
                key="data.train",
            )


def _bare(text: str) -> str:
    return " ".join(text.casefold().split())
