"""CPO, contrastive preference optimisation (Xu et al. 2024, arXiv:2401.08417): DPO with a uniform reference.

The log-prob takes the log-ratio's place, and the likelihood of the chosen response is held up beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.lazy import torch
from alignkit.losses.base import PairLoss
from alignkit.scores import PairScores, Unit

if TYPE_CHECKING:
    from torch import Tensor


class CPO(PairLoss):
    """Logistic loss of the margin between log-probs, and the likelihood of the chosen response, per token.

    The likelihood is divided by the optimizer step's number of chosen tokens, the rest by its number of pairs. Not the
    "CPO" that the TI-DPO paper cites (arXiv:2502.16433, synthetic negatives), whose loss we could not see.

    Formula: -(1 - eps) * log sigmoid(m) - eps * log sigmoid(-m) + alpha * NLL(chosen),
        m = beta * (sum_t w_t lp_t of chosen - of rejected); lp log-probs of the policy, w token weights
    Paper: arXiv:2401.08417
    """

    beta: float = Field(0.1, gt=0)
    """Scale of the margin, per nat of log-prob; usual 0.01 to 0.5."""

    alpha: float = Field(1.0, ge=0)
    """Factor of the likelihood term, TRL's `cpo_alpha`; dimensionless, usual 0 to 1."""

    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Share of pairs, eps, whose labels are taken to be swapped; usual 0 to 0.3."""

    def per_example(self, scores: PairScores) -> Tensor:
        margin_B = self.beta * (scores.chosen.policy_B - scores.rejected.policy_B)
        right_B, swapped_B = (-torch.nn.functional.logsigmoid(m_B) for m_B in (margin_B, -margin_B))
        return (1 - self.label_smoothing) * right_B + self.label_smoothing * swapped_B

    def nll(self, scores: PairScores) -> tuple[Tensor, Unit] | None:
        return (-self.alpha * scores.chosen.policy_B, "tokens") if self.alpha else None

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        chosen_B, rejected_B = (s.plain.policy_B.detach() for s in (scores.chosen, scores.rejected))
        return self.beta * chosen_B, self.beta * rejected_B
