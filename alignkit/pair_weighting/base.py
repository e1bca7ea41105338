"""What every pair weighting shares: one factor per pair, multiplied into every loss that lets it (`pair_weighted`)."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from alignkit.asks.needs import Needs
from alignkit.registry import Component
from alignkit.scores import Sees

if TYPE_CHECKING:
    from torch import Tensor


class PairWeighting(Component):
    """Base of the pair weightings."""

    fits: ClassVar[tuple[Sees, ...]] = ("pairs",)
    """What a trainer must give for it to weigh anything."""

    is_neutral: ClassVar[bool] = False
    """Whether leaving it out changes nothing."""

    def needs(self) -> Needs:
        """What the step must compute for this weighting; nothing by default."""
        return Needs()

    @abstractmethod
    def per_pair(self, scores: Any) -> Tensor:  # noqa: ANN401 -- pairs, or what `fits` names
        """[B] factor of each pair, dimensionless; carries a gradient only where the method says so."""
