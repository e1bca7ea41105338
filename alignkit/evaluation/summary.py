"""From what was measured of each row or sample to one number with its standard error, and to that of a change.

Before and after training the same rows are measured, and the same prompts answered, so the error of a change is that
of the rows' own changes: what rows have in common, such as that all of them tie before training, is no noise.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alignkit.losses.base import TIE

Record = Mapping[str, Any]
"""What was measured of one row or sample: `row`, its place among the held-out rows, and name -> value."""

Records = Sequence[Record]
"""In the order of the rows."""

Estimate = tuple[float, float]
"""A number and its standard error."""


class Summary(ABC):
    """How one number comes of many records."""

    @abstractmethod
    def of(self, records: Records) -> Estimate | None:
        """Of these records; None where they do not have it."""

    @abstractmethod
    def change(self, before: Records, after: Records) -> Estimate | None:
        """After - before, of the same rows in the same order; None where either does not have it."""

    def parts(self, records: Records) -> list[float | None] | None:
        """What each record adds: numbers whose mean is `of` and whose spread is its error; None of a record without it.

        So two runs are compared row by row, whatever the number is. None where it has no such parts.
        """
        return None


@dataclass(frozen=True)
class Mean(Summary):
    """The mean of the records that have a value.

    Attributes:
        key: the value's name in a record.
    """

    key: str

    def read(self, record: Record) -> float | None:
        """The value of one record."""
        return record.get(self.key)

    def of(self, records: Records) -> Estimate | None:
        """Over the records that have the value."""
        return _estimate([value for value in map(self.read, records) if value is not None])

    def change(self, before: Records, after: Records) -> Estimate | None:
        """Over the rows that have it before and after."""
        couples = [(self.read(old), self.read(new)) for old, new in zip(before, after, strict=True)]
        return _estimate([new - old for old, new in couples if old is not None and new is not None])

    def parts(self, records: Records) -> list[float | None]:
        """The values."""
        return [self.read(record) for record in records]


class Accuracy(Mean):
    """The mean of 1, 1/2 or 0 for a difference above 0, equal to it up to rounding, or below."""

    def read(self, record: Record) -> float | None:
        """The score of one record's difference."""
        difference = super().read(record)
        return None if difference is None else _score(difference)


class PerToken(Summary):
    """Negative log-prob per token of all responses but undesirable ones, which nobody wants to be likely.

    A ratio of two sums over rows, whose error is that of the delta method.
    """

    def of(self, records: Records) -> Estimate | None:
        """From `nll` and `tokens`."""
        wanted = self._wanted(records)
        return self._ratio(wanted) if wanted else None

    def change(self, before: Records, after: Records) -> Estimate | None:
        """From the changes of `nll`."""
        old, new = self._wanted(before), self._wanted(after)
        if not (old and new):
            return None
        return self._ratio([{**a, "nll": a["nll"] - b["nll"]} for b, a in zip(old, new, strict=True)])

    def parts(self, records: Records) -> list[float | None] | None:
        """The ratio, and how far each record is above it."""
        wanted = self._wanted(records)
        if not wanted:
            return None
        ratio, _ = self._ratio(wanted)
        share = len(wanted) / sum(record["tokens"] for record in wanted)
        return [
            ratio + (record["nll"] - ratio * record["tokens"]) * share if self._is_wanted(record) else None
            for record in records
        ]

    def _wanted(self, records: Records) -> Records:
        return [record for record in records if self._is_wanted(record)]

    def _is_wanted(self, record: Record) -> bool:
        return bool(record.get("desirable", True)) and "nll" in record

    def _ratio(self, records: Records) -> Estimate:
        tokens = float(sum(record["tokens"] for record in records))
        ratio = float(sum(record["nll"] for record in records)) / tokens
        if len(records) < 2:
            return ratio, math.nan
        spread = sum((record["nll"] - ratio * record["tokens"]) ** 2 for record in records)
        return ratio, math.sqrt(len(records) / (len(records) - 1) * spread) / tokens


@dataclass(frozen=True)
class Auc(Summary):
    """Chance that a `desirable` record has the larger value than one that is not; None with one kind of them only.

    Its error, or that of its change, is that of DeLong, DeLong and Clarke-Pearson (1988).

    Attributes:
        key: the value's name in a record.
    """

    key: str

    def of(self, records: Records) -> Estimate | None:
        """From the placements of single records."""
        return self._estimate(*self.placements(records)) if self._has_both(records) else None

    def change(self, before: Records, after: Records) -> Estimate | None:
        """From the changes of those placements."""
        if not (self._has_both(before) and self._has_both(after)):
            return None
        pairs = zip(self.placements(before), self.placements(after), strict=True)
        return self._estimate(*([b - a for a, b in zip(old, new, strict=True)] for old, new in pairs))

    def parts(self, records: Records) -> list[float | None] | None:
        """The AUC, and how far each record's placement is from it, as heavy as its kind is rare."""
        if not self._has_both(records):
            return None
        kinds = self.placements(records)
        auc, count = mean(kinds[0]), sum(map(len, kinds))
        ups, downs = (iter([auc + (one - auc) * count / len(kind) for one in kind]) for kind in kinds)
        return [next(ups if record["desirable"] else downs) if self.key in record else None for record in records]

    def placements(self, records: Records) -> tuple[list[float], list[float]]:
        """Of each desirable response the share of undesirable ones that it leads, of each undesirable one the share of
        desirable ones that lead it; a tie counts one half. The mean of either is the AUC."""
        up, down = ([r[self.key] for r in self._own(records) if bool(r["desirable"]) is kind] for kind in (True, False))
        ups = [mean([_score(one - other) for other in down]) for one in up]
        return ups, [mean([_score(one - other) for one in up]) for other in down]

    def _own(self, records: Records) -> Records:
        return [record for record in records if self.key in record]

    def _has_both(self, records: Records) -> bool:
        return len({bool(record["desirable"]) for record in self._own(records)}) == 2

    def _estimate(self, ups: Sequence[float], downs: Sequence[float]) -> Estimate:
        return mean(ups), math.hypot(standard_error(ups), standard_error(downs))  # NaN with one of a kind


def _estimate(values: Sequence[float]) -> Estimate | None:
    return (mean(values), standard_error(values)) if values else None


def _score(difference: float) -> float:
    """1, 1/2 or 0: above, equal up to rounding, below; NaN stays what it is."""
    return difference if math.isnan(difference) else (1 + (difference > TIE) - (difference < -TIE)) / 2


def mean(values: Sequence[float]) -> float:
    """NaN of nothing."""
    return sum(values) / len(values) if values else math.nan


def standard_error(values: Sequence[float]) -> float:
    """Of their mean; NaN of fewer than two."""
    if len(values) < 2:
        return math.nan
    middle = mean(values)
    return math.sqrt(sum((value - middle) ** 2 for value in values) / (len(values) - 1) / len(values))
