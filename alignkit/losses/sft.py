"""Supervised fine-tuning: raise the likelihood of the response."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignkit.losses.base import ResponseLoss
from alignkit.scores import ResponseScores

if TYPE_CHECKING:
    from torch import Tensor


class SFT(ResponseLoss):
    """Negative log-likelihood of the response, per token.

    The sum over responses is divided by the number of response tokens of the optimizer step, so gradient accumulation
    is exact and long responses count more than short ones.

    Formula: -sum_t w_t log pi(y_t | x, y_<t); w = 1 under uniform weights
    """

    unit = "tokens"

    def per_example(self, scores: ResponseScores) -> Tensor:
        return -scores.response.policy_B
