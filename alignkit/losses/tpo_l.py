"""TPO-L, the length-controlled form of triple preference optimisation (Saeidi et al. 2024, arXiv:2405.16681).

As `tpo`, but mean log-probs are compared and the chosen response must win by a margin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.lazy import torch
from alignkit.losses.base import MeanLogpLoss
from alignkit.scores import PairScores, Unit

if TYPE_CHECKING:
    from torch import Tensor


class TPOL(MeanLogpLoss):
    """Logistic loss of the margin between mean log-probs, and the likelihood of a gold response, per token.

    The likelihood is divided by the optimizer step's number of gold tokens, the rest by its number of pairs; token
    weights do not enter it, as the gold response has none.

    Formula: -log sigmoid(beta * (sum_t w_t lp_t / T_w - sum_t w_t lp_t / T_l) - gamma) + alpha * NLL(gold);
        lp log-probs of the policy, w token weights, T response tokens
    Paper: arXiv:2405.16681
    """

    beta: float = Field(0.01, gt=0)
    """Scale of the margin, per nat of mean log-prob; 0.01 in TRL."""

    gamma: float = Field(0.5, ge=0)
    """The target margin, in units of beta x mean log-prob; dimensionless, 0.5 in TRL."""

    alpha: float = Field(1.0, ge=0)
    """Factor of the likelihood term; dimensionless, usual 0.05 to 1."""

    def needs(self) -> Needs:
        return Needs(gold=True)

    def per_example(self, scores: PairScores) -> Tensor:
        margin_B = scores.chosen.mean_policy_B - scores.rejected.mean_policy_B
        return -torch.nn.functional.logsigmoid(self.beta * margin_B - self.gamma)

    def nll(self, scores: PairScores) -> tuple[Tensor, Unit] | None:
        return (-self.alpha * scores.gold.policy_B, "gold_tokens") if self.alpha else None
