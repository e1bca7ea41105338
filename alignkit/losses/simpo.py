"""SimPO (Meng et al. 2024, arXiv:2405.14734, Eq. 6): the mean log-prob is the reward, so no reference is needed.

The chosen response must win by a margin, given as a share of beta as in the authors' configurations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.lazy import torch
from alignkit.losses.base import MeanLogpLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class SimPO(MeanLogpLoss):
    """Logistic loss of the margin between mean log-probs, less a target margin.

    Formula: -log sigmoid(beta * (sum_t w_t lp_t / T_w - sum_t w_t lp_t / T_l - gamma_beta_ratio)); lp log-probs of the
        policy, w token weights, T response tokens
    Paper: arXiv:2405.14734 Eq. 6
    """

    gamma_beta_ratio: float = Field(0.25, ge=0)
    """The target margin in nats of mean log-prob, the paper's gamma / beta; usual 0.1 to 0.8. TRL's `simpo_gamma` is
    this times beta."""

    def per_example(self, scores: PairScores) -> Tensor:
        margin_B = scores.chosen.mean_policy_B - scores.rejected.mean_policy_B
        return -torch.nn.functional.logsigmoid(self.beta * (margin_B - self.gamma_beta_ratio))
