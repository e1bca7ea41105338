"""TIS-DPO (Liu et al. 2024, arXiv:2410.04350): DPO on token weights that estimate each token's reward.

The weights come from the token weighting `tis`. Without its optional KL this loss is `weighted_dpo`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.lazy import torch
from alignkit.losses.base import LogRatioLoss
from alignkit.models.statistics import ReverseKL
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor

KL = ReverseKL()
"""The KL of the optional penalty."""


class TISDPO(LogRatioLoss):
    """Logistic loss of the weighted log-ratio margin, less that of the weighted KLs to the reference if asked for.

    TDPO's KL is the other direction, unweighted, and enters with the opposite sign.

    Formula: -log sigmoid(beta * (sum_t w_t b_t - sum_t w_t c_t - kl_alpha * (sum_t w_t k_t of chosen - of rejected))),
        k_t = KL(pi || ref); b, c log-ratios to the reference, w token weights
    Paper: arXiv:2410.04350; the KL: `token_level` of the authors' code
    """

    kl_alpha: float | None = Field(None, gt=0)
    """Factor of the KL margin, which needs the reference's whole distribution; null leaves it out. The code has 0.5."""

    def needs(self) -> Needs:
        return super().needs() | Needs(statistics=frozenset() if self.kl_alpha is None else frozenset({KL}))

    def per_example(self, scores: PairScores) -> Tensor:
        margin_B = scores.chosen.logratio_B - scores.rejected.logratio_B
        if self.kl_alpha is not None:
            chosen_B, rejected_B = (s.statistic_B(KL, weighted=True) for s in (scores.chosen, scores.rejected))
            margin_B = margin_B - self.kl_alpha * (chosen_B - rejected_B)
        return -torch.nn.functional.logsigmoid(self.beta * margin_B)
