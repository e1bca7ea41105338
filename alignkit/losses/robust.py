"""Robust DPO (Chowdhury et al. 2024, arXiv:2403.00409): DPO's loss, unbiased under labels swapped at a known rate.

Where label smoothing shrinks the margin that is aimed for, this loss has the same expectation on noisy labels as DPO on
clean ones. It can be negative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.lazy import torch
from alignkit.losses.base import LogRatioLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class Robust(LogRatioLoss):
    """DPO's loss corrected for a share of swapped labels.

    Formula: (-(1 - eps) * log sigmoid(m) + eps * log sigmoid(-m)) / (1 - 2 eps),
        m = beta * (sum_t w_t b_t - sum_t w_t c_t); b, c log-ratios to the reference, w token weights
    Paper: arXiv:2403.00409
    """

    label_smoothing: float = Field(0.1, ge=0, lt=0.5)
    """Share of pairs, eps, whose labels are swapped; usual 0.05 to 0.3."""

    def per_example(self, scores: PairScores) -> Tensor:
        margin_B = self.beta * (scores.chosen.logratio_B - scores.rejected.logratio_B)
        right_B, swapped_B = (-torch.nn.functional.logsigmoid(m_B) for m_B in (margin_B, -margin_B))
        eps = self.label_smoothing
        return ((1 - eps) * right_B - eps * swapped_B) / (1 - 2 * eps)
