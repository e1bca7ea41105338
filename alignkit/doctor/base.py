"""What every check shares: it looks at a case and says what it finds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from alignkit.registry import Component

if TYPE_CHECKING:
    from alignkit.doctor.case import Case

Level = Literal["error", "warn", "report"]
"""How bad a finding is: training would be wrong, may be wrong, or the user should merely know."""

LEVELS: tuple[Level, ...] = get_args(Level)
"""The worst first."""

NUM_PLACES = 3
"""Rows that a finding names."""


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    Attributes:
        check: name of the check.
        subject: what of it, in a few words.
        level: how bad it is.
        count: rows, pairs or responses that show it.
        total: how many were looked at.
        places: `file:line` of the first three rows that show it.
        sentence: what it is and why it matters.
        key: recipe key that answers it; `data.train` where the rows themselves must be mended.
        values: the numbers behind the sentence.
        listed: `file:line` of all rows, where the whole list is of use; in the JSON alone.
    """

    check: str
    subject: str
    level: Level
    count: int
    total: int
    places: tuple[str, ...]
    sentence: str
    key: str
    values: Mapping[str, float] = field(default_factory=dict)
    listed: tuple[str, ...] = ()


class Check(Component):
    """Base of the checks: one method, which looks at the whole case. It changes nothing and draws nothing at random."""

    with_model: ClassVar[bool] = False
    """Reads `Case.reference`, so that it is made only when a model may be loaded."""

    @abstractmethod
    def findings(self, case: Case) -> Iterator[Finding]:
        """What there is to say of the case; nothing where there is nothing."""

    def finding(
        self,
        subject: str,
        level: Level,
        places: Sequence[str],
        total: int,
        sentence: str,
        *,
        key: str,
        count: int | None = None,
        values: Mapping[str, float] | None = None,
        listed: Sequence[str] = (),
    ) -> Finding:
        """A finding of this check; `count` is the number of places unless it is given."""
        number = len(places) if count is None else count
        rounded = {name: round(float(value), 6) for name, value in (values or {}).items()}
        shown = tuple(places[:NUM_PLACES])
        return Finding(self.name, subject, level, number, total, shown, sentence, key, rounded, tuple(listed))


def warn_if(condition: bool) -> Level:
    """`warn` where the condition holds, `report` otherwise."""
    return "warn" if condition else "report"
