"""Length-normalised DPO (Tulu 3, Lambert et al. 2024, arXiv:2411.15124): DPO on mean instead of summed log-ratios.

A long response cannot win by its length. It is also the preference term of Uni-DPO (arXiv:2506.10054), whose pair
weighting is `uni_dpo`. A mean is smaller than a sum by the response's length, so beta is larger than DPO's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.lazy import torch
from alignkit.losses.base import PairLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class SigmoidNorm(PairLoss):
    """Logistic loss of the margin between the mean log-ratios of chosen and rejected.

    Formula: -log sigmoid(beta * (sum_t w_t b_t / T_w - sum_t w_t c_t / T_l)); b, c log-ratios to the reference,
        w token weights, T response tokens
    Paper: arXiv:2411.15124
    """

    beta: float = Field(2.0, gt=0)
    """Strength of the pull to the reference, per nat of mean log-ratio; usual 2 to 10."""

    def needs(self) -> Needs:
        return Needs(reference=True)

    def per_example(self, scores: PairScores) -> Tensor:
        margin_B = scores.chosen.mean_logratio_B - scores.rejected.mean_logratio_B
        return -torch.nn.functional.logsigmoid(self.beta * margin_B)

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        chosen_B, rejected_B = (s.plain.mean_logratio_B.detach() for s in (scores.chosen, scores.rejected))
        return self.beta * chosen_B, self.beta * rejected_B
