"""AlphaPO (Gupta et al. 2025, arXiv:2501.03884): SimPO with another shape of the reward.

The reward is a power of the length-normalised probability instead of its logarithm. A positive alpha makes it fall
faster at small probabilities, so unlikely responses get most of the gradient; a negative one makes it flatter. The
power is of the mean over the response, not token by token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.lazy import torch
from alignkit.losses.base import PairLoss
from alignkit.scores import PairScores, TokenScores

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_EXPONENT = 20.0
"""Of alpha x nats below probability 1; beyond it the reward is held, with no gradient."""


class AlphaPO(PairLoss):
    """Logistic loss of the margin between powers of the mean probabilities, less a target margin.

    Token weights enter the mean log-prob. The exponent alpha m is held at 20: at alpha 0.25 that is 80 nats per token.

    Formula: -log sigmoid(beta * (r_w - r_l - gamma_beta_ratio)), r = (1 - exp(-alpha m)) / alpha,
        m = sum_t w_t lp_t / T; lp log-probs of the policy, w token weights, T response tokens
    Paper: arXiv:2501.03884
    """

    beta: float = Field(2.0, gt=0)
    """Scale of the reward, which is about one nat of mean log-prob; usual 2 to 10."""

    gamma_beta_ratio: float = Field(0.25, ge=0)
    """The target margin in units of r; usual 0.1 to 0.8. TRL's `simpo_gamma` is this times beta."""

    alpha: float = 0.25
    """Shape of the reward; dimensionless, usual -0.5 to 0.5. 0 is SimPO."""

    def per_example(self, scores: PairScores) -> Tensor:
        margin_B = self._reward(scores.chosen) - self._reward(scores.rejected)
        return -torch.nn.functional.logsigmoid(self.beta * (margin_B - self.gamma_beta_ratio))

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        chosen_B, rejected_B = (self._reward(s.plain).detach() for s in (scores.chosen, scores.rejected))
        return self.beta * chosen_B, self.beta * rejected_B

    def _reward(self, response: TokenScores) -> Tensor:
        """[B] r of a response."""
        mean_B = response.mean_policy_B
        if self.alpha == 0:
            return mean_B
        return -torch.expm1((-self.alpha * mean_B).clamp_max(LARGEST_EXPONENT)) / self.alpha
