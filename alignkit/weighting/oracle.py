"""The planted critical tokens of the built-in world: what token weights could know there at best."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.asks.planted import Forks, Planted
from alignkit.asks.values import TokenValues
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting

if TYPE_CHECKING:
    from torch import Tensor


class Oracle(TokenWeighting):
    """Weight on the planted tokens, for `builtin:world` only.

    Formula: 1 on the tokens of the advice (`forks`: where H_t(reference) >= 0.3 nats), `elsewhere` on all others
    Paper: none; a yardstick, not a method
    """

    knows_prompt = False

    elsewhere: float = Field(0.0, ge=0, lt=1)
    """Weight of the other tokens before rescaling; dimensionless."""

    forks: bool = False
    """Planted tokens at which the reference is in doubt alone: most of a phrase's later words follow from its first."""

    @property
    def _looked_up(self) -> TokenValues:
        return Forks() if self.forks else Planted()

    def needs(self) -> Needs:
        return Needs(values=frozenset({self._looked_up}))

    def raw(self, span: Span) -> Tensor:
        return span.values[self._looked_up].clamp_min(self.elsewhere)
