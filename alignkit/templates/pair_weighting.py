"""Which pairs count more, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.pair_weighting.base import PairWeighting
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class Template(PairWeighting):
    """Less weight on pairs whose responses differ in length.

    Formula: min(T_w, T_l) / max(T_w, T_l), to the power of `strength`
    """

    strength: float = Field(1.0, ge=0)
    """How sharply the weight falls; dimensionless, and 0 leaves all pairs equal."""

    def per_pair(self, scores: PairScores) -> Tensor:
        chosen_B, rejected_B = (one.length_B.to(one.policy_BT.dtype) for one in (scores.chosen, scores.rejected))
        factor_B: Tensor = (chosen_B.minimum(rejected_B) / chosen_B.maximum(rejected_B)) ** self.strength
        return factor_B
