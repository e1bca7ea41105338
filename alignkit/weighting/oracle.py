"""The planted critical tokens of the built-in world: the upper bound of what token weights can bring there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.asks.planted import Planted
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting

if TYPE_CHECKING:
    from torch import Tensor


class Oracle(TokenWeighting):
    """Weight on the planted tokens, for `builtin:world` only.

    Formula: 1 on the tokens of the advice, `elsewhere` on all others
    Paper: none; a bound, not a method
    """

    knows_prompt = False

    elsewhere: float = Field(0.0, ge=0, lt=1)
    """Weight of the other tokens before rescaling; dimensionless."""

    def needs(self) -> Needs:
        return Needs(values=frozenset({Planted()}))

    def raw(self, span: Span) -> Tensor:
        return span.values[Planted()].clamp_min(self.elsewhere)
