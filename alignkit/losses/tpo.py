"""TPO, triple preference optimisation (Saeidi et al. 2024, arXiv:2405.16681): a gold response beside the pair.

The gold response, better than both, is imitated while the pair is contrasted, in one step and without a reference. Its
summed log-probs suffer from length; `tpo_l` compares means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.lazy import torch
from alignkit.losses.base import PairLoss
from alignkit.scores import PairScores, Unit

if TYPE_CHECKING:
    from torch import Tensor


class TPO(PairLoss):
    """Logistic loss of the margin between log-probs, and the likelihood of a gold response, per token.

    Triple, not tree-of-thought: its "reference" is the gold response, a data column, and no model.

    The likelihood is divided by the optimizer step's number of gold tokens, the rest by its number of pairs; token
    weights do not enter it, as the gold response has none. With the chosen response as gold it is `cpo`.

    Formula: -log sigmoid(beta * (sum_t w_t lp_t of chosen - of rejected)) + alpha * NLL(gold); lp log-probs of the
        policy, w token weights
    Paper: arXiv:2405.16681
    """

    beta: float = Field(0.01, gt=0)
    """Scale of the margin, per nat of log-prob; usual 0.01 to 0.1."""

    alpha: float = Field(1.0, ge=0)
    """Factor of the likelihood term; dimensionless, usual 0.05 to 1."""

    def needs(self) -> Needs:
        return Needs(gold=True)

    def per_example(self, scores: PairScores) -> Tensor:
        return -torch.nn.functional.logsigmoid(self.beta * (scores.chosen.policy_B - scores.rejected.policy_B))

    def nll(self, scores: PairScores) -> tuple[Tensor, Unit] | None:
        return (-self.alpha * scores.gold.policy_B, "gold_tokens") if self.alpha else None

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        chosen_B, rejected_B = (s.plain.policy_B.detach() for s in (scores.chosen, scores.rejected))
        return self.beta * chosen_B, self.beta * rejected_B
