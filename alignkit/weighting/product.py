"""Tokens count that several weightings think important at once: forks of the model that also matter, say.

A mixture needs one part to speak for a token, a product all of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from alignkit.scores import Span
from alignkit.weighting.self_log_ratio import SelfLogRatio
from alignkit.weighting.several import Parts, Several, refuse_odd
from alignkit.weighting.statistic import ByStatistic

if TYPE_CHECKING:
    from torch import Tensor


class Product(Several):
    """Product of the weights of other weightings.

    Each part has the scale that it has by itself: mean 1, or absolute where its own default is `raw`. So with
    `rescale: raw` the constants of `side` or `decay` stay what they are beside a part of mean 1.

    Formula: prod_i w_it^powers_i, then `rescale`
    Paper: none; ours
    """

    of: Parts = Field(default_factory=lambda: (ByStatistic(name="statistic"), SelfLogRatio(name="self")))
    """The weightings."""

    powers: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(strict=False)] | None = None
    """Exponent of each; null means 1. Above 1 sharpens, below 1 flattens; a part with 0 has no say and is not asked."""

    @model_validator(mode="after")
    def _one_power_each(self) -> Self:
        refuse_odd("powers", self.powers, self.of)
        return self

    @property
    def numbers(self) -> tuple[float, ...]:
        return self.powers or (1.0,) * len(self.of)

    def raw(self, span: Span) -> Tensor:
        factors = (part.scaled(span) ** power for part, power in self.asked)
        return math.prod(factors, start=span.mask_BS.float())
