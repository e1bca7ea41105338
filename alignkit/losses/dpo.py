"""Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290, Eq. 7), on weighted log-ratios.

The chosen response should gain likelihood over the reference more than the rejected one. Token weights are already in
the scores, so this one class is also TI-DPO's weighted loss (arXiv:2505.19653, Eq. 11 and 12, with the beta of Alg. 1
that Eq. 12 leaves out); uniform weights give plain DPO bit for bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.lazy import torch
from alignkit.losses.base import PairLoss
from alignkit.scores import Needs, PairScores

if TYPE_CHECKING:
    from torch import Tensor


class DPO(PairLoss):
    """Logistic loss of the margin between the log-ratios of chosen and rejected.

    Formula: -log sigmoid(beta * (sum_t w_t b_t - sum_t w_t c_t)); b, c log-ratios to the reference, w token weights
    Paper: arXiv:2305.18290 Eq. 7; weighted: arXiv:2505.19653 Eq. 12
    """

    beta: float = Field(0.1, gt=0)
    """Strength of the pull to the reference, per nat of log-ratio; usual 0.01 to 0.5."""

    def needs(self) -> Needs:
        return Needs(reference=True)

    def per_example(self, scores: PairScores) -> Tensor:
        margin_B = scores.chosen.logratio_B - scores.rejected.logratio_B
        return -torch.nn.functional.logsigmoid(self.beta * margin_B)

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        chosen_B, rejected_B = (s.logratio_BT.detach().sum(-1) for s in (scores.chosen, scores.rejected))
        return self.beta * chosen_B, self.beta * rejected_B
