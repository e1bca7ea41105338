"""Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290, Eq. 7), on weighted log-ratios.

The chosen response should gain likelihood over the reference more than the rejected one. Token weights are already in
the scores, so this one class is also TI-DPO's weighted loss (arXiv:2505.19653, Eq. 11 and 12, with the beta of Alg. 1
that Eq. 12 leaves out); uniform weights give plain DPO bit for bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.lazy import torch
from alignkit.losses.base import LogRatioLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class DPO(LogRatioLoss):
    """Logistic loss of the margin between the log-ratios of chosen and rejected, summed with the token weights.

    Uniform weights give plain DPO, those of `hybrid` TI-DPO's weighted loss; it is one loss under two names.
    With label smoothing eps it is "conservative DPO", which some call cDPO; here `cdpo` is the token-level method.

    Formula: -(1 - eps) * log sigmoid(m) - eps * log sigmoid(-m), m = beta * (sum_t w_t b_t - sum_t w_t c_t);
        b, c log-ratios to the reference, w token weights
    Paper: arXiv:2305.18290 Eq. 7; weighted: arXiv:2505.19653 Eq. 12; label smoothing: the DPO authors' code
    """

    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Share of pairs, eps, whose labels are taken to be swapped; usual 0 to 0.3. TRL ignores it for this loss."""

    def per_example(self, scores: PairScores) -> Tensor:
        margin_B = self.beta * (scores.chosen.logratio_B - scores.rejected.logratio_B)
        right_B, swapped_B = (-torch.nn.functional.logsigmoid(m_B) for m_B in (margin_B, -margin_B))
        return (1 - self.label_smoothing) * right_B + self.label_smoothing * swapped_B
