"""DPO-Positive (Pal et al. 2024, arXiv:2402.13228): DPO that punishes a chosen response which has become less likely.

DPO's margin can grow while both responses lose likelihood. Here what the chosen response has lost against the reference
is taken off the margin, lambda times. With a small beta and the paper's lambda the penalty soon dominates, and the loss
behaves like a floor under the chosen response rather than like a preference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.lazy import torch
from alignkit.losses.base import LogRatioLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class DPOP(LogRatioLoss):
    """Logistic loss of the log-ratio margin less a penalty on a chosen response below its reference.

    Token weights enter the margin. The penalty is not weighted: what has to be kept is the likelihood of the whole
    response.

    Formula: -log sigmoid(beta * (sum_t w_t b_t - sum_t w_t c_t - lambda * max(0, -sum_t b_t))); b, c log-ratios to the
        reference, w token weights
    Paper: arXiv:2402.13228
    """

    drop_penalty: float = Field(50.0, ge=0)
    """Lambda, nats taken off the margin per nat that the chosen response has lost; dimensionless, usual 5 to 50."""

    def per_example(self, scores: PairScores) -> Tensor:
        lost_B = torch.relu(-scores.chosen.plain.logratio_B)
        margin_B = scores.chosen.logratio_B - scores.rejected.logratio_B - self.drop_penalty * lost_B
        return -torch.nn.functional.logsigmoid(self.beta * margin_B)
