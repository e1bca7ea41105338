"""ORPO (Hong et al. 2024, arXiv:2403.07691, Eq. 6 and 7): imitation of the chosen response plus an odds ratio.

The odds of a response are p / (1 - p) with p its length-normalised likelihood; no reference is needed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.lazy import torch
from alignkit.losses.base import PairLoss
from alignkit.scores import PairScores, Unit

if TYPE_CHECKING:
    from torch import Tensor


class ORPO(PairLoss):
    """Negative log-likelihood of the chosen response, per token, and a logistic loss of the log odds ratio.

    The likelihood is divided by the optimizer step's number of tokens, the rest by its number of pairs. Departure from
    TRL, whose likelihood always includes the prompt: `nll_on: full` is theirs.

    Formula: NLL - odds_weight * log sigmoid(log(p_w / (1 - p_w)) - log(p_l / (1 - p_l))), p = exp(sum_t w_t lp_t / T);
        lp log-probs of the policy, w token weights, T response tokens
    Paper: arXiv:2403.07691 Eq. 6 and 7
    """

    odds_weight: float = Field(0.1, gt=0)
    """Factor of the odds-ratio term, the paper's lambda and TRL's beta; dimensionless, usual 0.1 to 1."""

    nll_on: Literal["response", "full"] = "response"
    """Tokens whose likelihood is raised: the chosen response's, weighted; `full`: the prompt's too, but its first, at
    weight 1."""

    def needs(self) -> Needs:
        return Needs(prompt=self.nll_on == "full")

    def per_example(self, scores: PairScores) -> Tensor:
        chosen_B, rejected_B = (_log_odds(s.mean_policy_B) for s in (scores.chosen, scores.rejected))
        return -self.odds_weight * torch.nn.functional.logsigmoid(chosen_B - rejected_B)

    def nll(self, scores: PairScores) -> tuple[Tensor, Unit]:
        response_B = -scores.chosen.policy_B
        if self.nll_on == "response":
            return response_B, "tokens"
        prompt_BP = scores.chosen.prompt_BP
        assert prompt_BP is not None, "needs() asked for it"
        return response_B - prompt_BP.sum(-1), "sequence_tokens"

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        chosen_B, rejected_B = (s.plain.mean_policy_B.detach() for s in (scores.chosen, scores.rejected))
        return self.odds_weight * chosen_B, self.odds_weight * rejected_B


def _log_odds(logp_B: Tensor) -> Tensor:
    """[B] log(p / (1 - p)) of log p <= 0, with neither overflow nor cancellation."""
    # A log-prob nearer to 0 than rounding can tell has no odds; there the value and a gradient of 0 are finite.
    logp_B = logp_B.clamp_max(-torch.finfo(logp_B.dtype).eps)
    far_B = torch.log1p(-logp_B.exp())
    near_B = torch.log(-torch.expm1(logp_B))
    return logp_B - torch.where(logp_B < -math.log(2), far_B, near_B)
