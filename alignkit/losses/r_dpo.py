"""R-DPO (Park et al. 2024, arXiv:2403.19159): DPO with the lengths in the margin, against answers that only grow.

It is DPO under the reward r - alpha T, which puts alpha T_w - alpha T_l into the margin: what a chosen response is
longer counts as margin that it already has, and is not rewarded with likelihood. Where alpha times the difference in
length is several units, the pair is decided by its lengths and teaches nothing, or is pushed at full strength.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.lazy import torch
from alignkit.losses.base import LogRatioLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class RDPO(LogRatioLoss):
    """Logistic loss of the log-ratio margin and of the difference in length.

    Token weights enter the log-ratios; lengths are counted unweighted, EOS included.

    Formula: -log sigmoid(beta * (sum_t w_t b_t - sum_t w_t c_t) + alpha * (T_w - T_l)); b, c log-ratios to the
        reference, w token weights, T response tokens
    Paper: arXiv:2403.19159
    """

    alpha: float = Field(0.01, ge=0)
    """Reward that a token of length costs, in units of beta x nats per token; usual 0.005 to 0.1."""

    def per_example(self, scores: PairScores) -> Tensor:
        margin_B = self.beta * (scores.chosen.logratio_B - scores.rejected.logratio_B)
        longer_B = (scores.chosen.length_B - scores.rejected.length_B).to(margin_B)
        return -torch.nn.functional.logsigmoid(margin_B + self.alpha * longer_B)
