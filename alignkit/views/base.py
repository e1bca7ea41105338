"""What every trainer shares: the responses it lays out and the view it gives to the losses."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from alignkit.asks.needs import Needs
from alignkit.data.rows import TokenRow
from alignkit.registry import Component
from alignkit.scores import RowScores, Sees, View


class Trainer(Component):
    """Base of the trainers."""

    gives: ClassVar[Sees]
    """What a loss must see to be trained with."""

    responses: ClassVar[tuple[str, ...]]
    """The fields of a data row that are laid out, in this order."""

    reads: ClassVar[str]
    """The columns of the data it can be given, in words."""

    draws: ClassVar[bool] = False
    """Whether it learns from responses of the policy, which a sampler draws and rewards score."""

    drawn_per_row: ClassVar[int] = 1
    """Sampled responses in each row, where it samples."""

    needs_advantage: ClassVar[bool] = False
    """Whether rewards become advantages."""

    @property
    def updates(self) -> int:
        """Optimizer steps that each batch of the data's order is there for."""
        return 1

    def totals(self, rows: Sequence[TokenRow], needs: Needs) -> dict[str, float]:
        """What losses divide by, over the rows of a whole optimizer step: examples, tokens of their first response (the
        one SFT trains on), and what else is needed."""
        tokens = float(sum(len(next(iter(row.responses.values()))) for row in rows))
        totals = {"examples": float(len(rows)), "tokens": tokens}
        if needs.prompt:
            totals["sequence_tokens"] = tokens + sum(len(row.prompt) - 1 for row in rows)
        if needs.gold:
            totals["gold_tokens"] = float(sum(len(row.responses["gold"]) for row in rows))
        return totals

    @abstractmethod
    def view(self, scores: RowScores) -> View:
        """What losses get to see of a micro-batch."""
