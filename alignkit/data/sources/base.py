"""The interface of sources: raw rows, and what can be said of them without reading any."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Literal

from alignkit.data.raw import Columns, RawRow
from alignkit.registry import Component

Part = Literal["train", "eval"]
"""What rows are for: `data.train` or held-out rows."""


class Source(Component):
    """Base of the sources. Fields say where the rows are; `read` is the whole job."""

    has_own_eval: ClassVar[bool] = False
    """Has held-out rows of its own: as `data.train` without `data.eval` it is read for both, and nothing is split."""

    plants: ClassVar[bool] = False
    """Its rows say which words decide, in `RawRow.critical`."""

    on_world: ClassVar[bool] = False
    """Its rows are the built-in world's, whose true reward is known."""

    @property
    def label(self) -> str:
        """What messages and reports call it."""
        return self.name

    @abstractmethod
    def read(self, part: Part, seed: int, limit: int | None, columns: Columns) -> Iterable[RawRow]:
        """The rows, numbered from 0.

        Args:
            part: what they are for; a source without a split of its own need not care.
            seed: of the run, for rows that are drawn.
            limit: rows that will be looked at; more may be given. None for all.
            columns: those that will be looked at, where the others can be left alone (`RawRow.others`); None for all.

        Raises:
            DataError: they cannot be had; says of what, why, and what to do.
        """

    def is_same(self, other: Source) -> bool:
        """Whether this source, as `data.train`, gives the rows that `other` gives as `data.eval`."""
        return self == other and not self.has_own_eval

    def missing(self) -> str | None:
        """What it names on this machine and is not there; nothing is opened to know."""
        return None

    def elsewhere(self) -> str | None:
        """What it names on other machines, so that nobody looked whether it is there."""
        return None
