"""RePO (Wu et al. 2025, arXiv:2503.07426): a hinge on mean log-probs, which is SimPO at an infinite beta.

A pair either learns at full strength or, once its margin is reached, not at all. There is no beta: the learning rate is
the only strength, and nothing holds the policy near where it began but the pairs that stop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.lazy import torch
from alignkit.losses.base import PairLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class RePO(PairLoss):
    """Hinge on the margin between mean log-probs.

    Token weights enter the means; weights of mean 1 keep them on the scale of gamma.

    Formula: max(0, gamma - (sum_t w_t lp_t / T_w - sum_t w_t lp_t / T_l)); lp log-probs of the policy,
        w token weights, T response tokens
    Paper: arXiv:2503.07426
    """

    gamma: float = Field(0.5, ge=0)
    """Margin at which a pair is learnt; nats per token, usual 0.4 to 0.6."""

    def per_example(self, scores: PairScores) -> Tensor:
        return torch.relu(self.gamma - (scores.chosen.mean_policy_B - scores.rejected.mean_policy_B))

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        chosen_B, rejected_B = (s.plain.mean_policy_B.detach() for s in (scores.chosen, scores.rejected))
        return chosen_B, rejected_B
