"""DiscoPOP (Lu et al. 2024, arXiv:2406.08414, Eq. 5): a loss that a language model proposed and experiments chose.

Logistic below the margin 0, exponential above, with a smooth switch of width tau. It is not convex: it has a dip just
below 0 and a hump just above, so a pair may rest there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.lazy import torch
from alignkit.losses.base import LogRatioLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class DiscoPOP(LogRatioLoss):
    """Blend of the logistic and the exponential loss of the log-ratio margin, by the margin's own sign.

    Token weights enter both log-ratios.

    Formula: -log sigmoid(m) * sigmoid(-m / tau) + exp(-m) * sigmoid(m / tau),
        m = beta * (sum_t w_t b_t - sum_t w_t c_t); b, c log-ratios to the reference, w token weights
    Paper: arXiv:2406.08414 Eq. 5
    """

    tau: float = Field(0.05, gt=0, le=1)
    """Width of the switch, in units of beta x nats; 0.05 in the paper. Above 1 a wrong pair's loss would explode."""

    def per_example(self, scores: PairScores) -> Tensor:
        margin_B = self.beta * (scores.chosen.logratio_B - scores.rejected.logratio_B)
        logsigmoid = torch.nn.functional.logsigmoid
        logistic_B = -logsigmoid(margin_B) * torch.sigmoid(-margin_B / self.tau)
        # One exponent: exp(-m) alone overflows at far margins, where its factor is 0.
        return logistic_B + torch.exp(logsigmoid(margin_B / self.tau) - margin_B)
