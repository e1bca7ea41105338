"""What every pair weighting shares: one factor per pair, multiplied into every loss that lets it (`pair_weighted`)."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from alignkit.asks.needs import Needs
from alignkit.registry import Component
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class PairWeighting(Component):
    """Base of the pair weightings."""

    def needs(self) -> Needs:
        """What the step must compute for this weighting; nothing by default."""
        return Needs()

    @abstractmethod
    def per_pair(self, scores: PairScores) -> Tensor:
        """[B] factor of each pair, dimensionless; carries a gradient only where the method says so."""
