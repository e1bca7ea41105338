"""What the whole vocabulary says at a token, as one number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.models.statistics import Statistic, Vocabulary

if TYPE_CHECKING:
    from torch import Tensor


class Template(Statistic):
    """lead of the likeliest token over another one, nats, without gradient.

    Formula: z_(1) - z_(rank), logits in falling order
    """

    has_gradient = False

    rank: int = Field(2, ge=2)
    """Place of the token that the likeliest one is compared with; 2 is the next likeliest."""

    def reduce(self, vocabulary: Vocabulary) -> Tensor:
        best_NK = vocabulary.logits_NV.detach().topk(self.rank, dim=-1).values
        return best_NK[:, 0] - best_NK[:, -1]
