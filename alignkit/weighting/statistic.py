"""Tokens weigh as the whole vocabulary at their place says: undecided ones by their entropy, for instance.

Any statistic of the vocabulary will do, one from a plugin too; none costs a backward pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from alignkit.asks.needs import Needs
from alignkit.models.statistics import StatisticSlot, statistics
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting

if TYPE_CHECKING:
    from torch import Tensor


class ByStatistic(TokenWeighting):
    """A statistic of the vocabulary at each token, as a constant.

    Formula: the statistic's value, >= 0
    """

    knows_prompt = False

    statistic: StatisticSlot = Field(default_factory=lambda: statistics.build("entropy", {}))
    """What the vocabulary is reduced to; one that is never negative."""

    @model_validator(mode="after")
    def _is_a_weight(self) -> Self:
        if self.statistic.can_be_negative:
            fitting = [name for name, cls in statistics.classes().items() if not cls.can_be_negative]
            raise PydanticCustomError(
                "statistic",
                f"statistic '{self.statistic.name}' can be negative, and a weight cannot; use {', '.join(fitting)}",
            )
        return self

    def needs(self) -> Needs:
        return Needs(reference=self.statistic.reads_reference, statistics=frozenset({self.statistic}))

    def raw(self, span: Span) -> Tensor:
        return span.statistics[self.statistic].clamp_min(0)  # rounding can leave a KL just below 0
