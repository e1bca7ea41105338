"""Collects the rows that cannot be used, and says so once: five of them with their place, and how many of each kind."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from alignkit.data.config import DataConfig
from alignkit.data.fields import Unusable, in_other_words
from alignkit.data.raw import RawRow
from alignkit.data.renaming import Names
from alignkit.errors import DataError
from alignkit.records.files import one_line

_SHOWN = 5
"""Offenders named in a message."""


@dataclass(frozen=True)
class Offender:
    """A row that is not used, and why."""

    row: RawRow
    reason: str
    detail: str

    @property
    def line(self) -> str:
        """`file:line: reason: detail`."""
        return f"{self.row.where}: {self.reason}: {self.detail}"


class Dropped:
    """The rows of one source that are not used.

    Attributes:
        bad: rows that cannot be used; they stop the run, or count against `max_bad_rows`.
        too_long: rows that are left out without being bad: by `on_overflow: drop`, ties, labels that are not wanted.
        num_rows: how many there are in all.
    """

    def __init__(self, name: str, num_rows: int, names: Names | None = None) -> None:
        self.bad: list[Offender] = []
        self.too_long: list[Offender] = []
        self._name = name
        self.num_rows = num_rows
        self._names = names or {}

    def add(self, row: RawRow, error: Unusable, is_bad: bool = True) -> None:
        """Notes a row that is not used."""
        detail = in_other_words(error.detail, self._names)
        (self.bad if is_bad else self.too_long).append(Offender(row, error.reason, detail))

    def counts(self) -> dict[str, int]:
        """Reason -> rows, most frequent first."""
        return dict(Counter(offender.reason for offender in [*self.bad, *self.too_long]).most_common())

    def settle(self, config: DataConfig) -> None:
        """Stops unless the bad rows may be dropped.

        Raises:
            DataError: there are bad rows, or more than allowed, or no row is left.
        """
        allowed = config.max_bad_rows if config.on_bad_row == "drop" else 0
        if len(self.bad) > allowed:
            if config.on_bad_row == "drop":
                limit, advice = f", more than data.max_bad_rows: {allowed}", "mend them, or raise data.max_bad_rows"
            else:
                limit, advice = "", "mend them, or leave them out with data.on_bad_row: drop"
            raise DataError(self._message(limit, advice))
        if len(self.bad) + len(self.too_long) == self.num_rows:
            raise DataError(f"{self._name}: no row is left of {self.num_rows}: {_listed(self.counts())}")

    def write(self, path: Path) -> None:
        """Appends one JSON line per row to `path`: where, reason, detail and the row itself; no file without rows.

        Raises:
            RunFolderError: it cannot be written.
        """
        if not (self.bad or self.too_long):
            return
        with one_line(path), path.open("a", encoding="utf-8") as file:
            for offender in sorted([*self.bad, *self.too_long], key=lambda offender: offender.row.index):
                record = {"where": offender.row.where, "reason": offender.reason, "detail": offender.detail}
                fields = {"row": offender.row.fields if offender.row.given is None else offender.row.given}
                file.write(json.dumps({**record, **fields}, ensure_ascii=False, default=str) + "\n")

    def _message(self, limit: str, advice: str) -> str:
        reasons = Counter(offender.reason for offender in self.bad).most_common()
        first = sorted(self.bad, key=lambda offender: offender.row.index)[:_SHOWN]
        rest = len(self.bad) - len(first)
        head = f"{self._name}: {len(self.bad)} of {self.num_rows} rows cannot be used{limit}: {_listed(dict(reasons))}"
        lines = [f"  {offender.line}" for offender in first] + ([f"  and {rest} more"] if rest else [])
        return "\n".join([head, *lines, advice])


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.items())
