"""What every benchmark shares: items, and one method that puts them to a model and scores what it answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from alignkit.benchmarks.items import Answer, Item
from alignkit.registry import Component

if TYPE_CHECKING:
    from alignkit.benchmarks.subject import Subject


class Benchmark(Component):
    """Base of the benchmarks. `items` gives the questions, `ask` puts some of them to a model."""

    executes_code: ClassVar[bool] = False
    """Whether it runs code that the model writes, which must be allowed on the command line."""

    label: str | None = Field(None, pattern=r"^[A-Za-z0-9_.-]+$")
    """What results and files call it; null for the component's name. Benchmarks of one recipe need different ones."""

    seed: int = Field(0, ge=0)
    """Decides which items a limit takes, which examples are shown, and every draw. It is not the recipe's seed, so that
    runs of several seeds answer the same items."""

    @property
    def title(self) -> str:
        """What results, files and messages call it."""
        return self.label or self.name

    @property
    def together(self) -> int | None:
        """Items that are asked at once; None for as many as an evaluation's batch."""
        return None

    def check(self) -> None:
        """Finds out before any model loads whether the items can be had and the answers scored.

        Raises:
            AlignkitError: they cannot.
        """

    @abstractmethod
    def items(self) -> Sequence[Item]:
        """All that is asked, in an order that stays; their names differ."""

    @abstractmethod
    def ask(self, subject: Subject, items: Sequence[Item]) -> Sequence[Answer]:
        """Puts items to a model. What is said of one item does not depend on the others.

        Args:
            subject: the model.
            items: some of `items()`.
        """
