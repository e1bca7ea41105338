"""KTO (Ethayarajh et al. 2024, arXiv:2402.01306): responses that are good or bad, without pairs.

A response's log-ratio is compared with a baseline: how far the policy has moved from the reference on responses that
belong to other prompts. The baseline is a constant for the gradient.
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


class KTO(UnpairedLoss):
    """Saturating loss of the log-ratio's distance to the baseline, up for desirable and down for undesirable responses.

    The baseline z is estimated over the whole optimizer step, whatever its micro-batches, and not weighted by token; a
    response that is too long behind the other prompt is cut to `data.max_length`, and a batch of one row has z = 0.

    Formula: lambda_D * (1 - sigmoid(beta * (r - z))) if desirable, else lambda_U * (1 - sigmoid(beta * (z - r)));
        r = sum_t w_t b_t; z = max(0, mean over the step's rows of the log-ratio of the row before's response under
        this row's prompt); b log-ratios to the reference, w token weights
    Paper: arXiv:2402.01306 Eq. 7 and 8
    """

    beta: float = Field(0.1, gt=0)
    """Strength of the pull to the reference, per nat of log-ratio; usual 0.01 to 0.5."""

    desirable_weight: float = Field(1.0, gt=0)
    """Factor of desirable responses, lambda_D; dimensionless. With n_D desirable and n_U undesirable responses the
    authors keep lambda_D n_D / (lambda_U n_U) between 1 and 1.33."""

    undesirable_weight: float = Field(1.0, gt=0)
    """Factor of undesirable responses, lambda_U; dimensionless."""

    def needs(self) -> Needs:
        return Needs(reference=True, mismatched=True)

    def per_example(self, scores: UnpairedScores) -> Tensor:
        baseline = scores.mismatched.detach().clamp_min(0)
        lead_B = scores.response.logratio_B - baseline
        towards_B = torch.where(scores.desirable_B, lead_B, -lead_B)
        factor_B = torch.where(scores.desirable_B, self.desirable_weight, self.undesirable_weight)
        return factor_B * torch.sigmoid(-self.beta * towards_B)  # 1 - s(x) = s(-x), without cancellation

    def rewards(self, scores: UnpairedScores) -> Tensor:
        return self.beta * scores.response.plain.logratio_B.detach()
