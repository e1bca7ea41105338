"""APO-zero (D'Oosterlinck et al. 2024, arXiv:2408.06266, Eq. 7) for responses without pairs.

KTO without its baseline: each response is compared with the reference itself, so no other prompts need to be scored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.lazy import torch
from alignkit.losses.base import UnpairedLoss
from alignkit.scores import UnpairedScores

if TYPE_CHECKING:
    from torch import Tensor


class APOUnpaired(UnpairedLoss):
    """Saturating loss of the log-ratio, up for desirable and down for undesirable responses.

    Token weights enter the log-ratio.

    Formula: lambda_D * sigmoid(-beta * S) if desirable, else lambda_U * sigmoid(beta * S); S = sum_t w_t b_t,
        b log-ratios to the reference, w token weights
    Paper: arXiv:2408.06266 Eq. 7
    """

    beta: float = Field(0.1, gt=0)
    """Strength of the pull to the reference, per nat of log-ratio; usual 0.01 to 0.5."""

    desirable_weight: float = Field(1.0, gt=0)
    """Factor of desirable responses, lambda_D; dimensionless."""

    undesirable_weight: float = Field(1.0, gt=0)
    """Factor of undesirable responses, lambda_U; dimensionless."""

    def needs(self) -> Needs:
        return Needs(reference=True)

    def per_example(self, scores: UnpairedScores) -> Tensor:
        logratio_B = scores.response.logratio_B
        towards_B = torch.where(scores.desirable_B, logratio_B, -logratio_B)
        factor_B = torch.where(scores.desirable_B, self.desirable_weight, self.undesirable_weight)
        return factor_B * torch.sigmoid(-self.beta * towards_B)

    def rewards(self, scores: UnpairedScores) -> Tensor:
        return self.beta * scores.response.plain.logratio_B.detach()
