"""How much likelier each token of a response should become."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.advantages.base import Advantage, Groups

if TYPE_CHECKING:
    from torch import Tensor


class Template(Advantage):
    """How far a response's reward lies above the mean of its group, at most `most` either way.

    Formula: (r - mean) cut to [-most, most], for each token of the response
    """

    most: float = Field(1.0, gt=0)
    """Largest advantage, on the scale of rewards."""

    def per_token(self, groups: Groups) -> Tensor:
        rewards_PG, scored_PG = groups.penalised_PG, groups.scored_PG
        mean_P1 = rewards_PG.sum(-1, keepdim=True) / scored_PG.sum(-1, keepdim=True).clamp_min(1)
        advantage_PG = (rewards_PG - mean_P1).clamp(-self.most, self.most).where(scored_PG, 0.0)
        return advantage_PG[:, :, None] * groups.mask_PGT
