"""How much likelier each token should become, given the rewards of a group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignkit.advantages.base import Advantage, Groups

if TYPE_CHECKING:
    from torch import Tensor


class Template(Advantage):
    """A response's place in its group: 1 for the best, -1 for the worst, whatever lies between their rewards.

    Formula: (others with a lower reward - others with a higher one) / others
    """

    def per_token(self, groups: Groups) -> Tensor:
        rewards_PG, scored_PG = groups.penalised_PG, groups.scored_PG
        lead_PGG = (rewards_PG[:, :, None] - rewards_PG[:, None, :]).sign()
        others_P1 = (scored_PG.sum(-1, keepdim=True) - 1).clamp_min(1)
        place_PG = (lead_PGG * scored_PG[:, None, :]).sum(-1) / others_P1
        return place_PG[:, :, None] * groups.mask_PGT
