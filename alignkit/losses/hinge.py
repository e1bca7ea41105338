"""The hinge form of DPO (SLiC, Zhao et al. 2023, arXiv:2305.10425; on log-ratios as in RSO, arXiv:2309.06657).

A pair whose margin has reached 1 / beta nats has no gradient left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.lazy import torch
from alignkit.losses.base import LogRatioLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class Hinge(LogRatioLoss):
    """Hinge on the margin between the log-ratios of chosen and rejected.

    Formula: max(0, 1 - beta * (sum_t w_t b_t - sum_t w_t c_t)); b, c log-ratios to the reference, w token weights
    Paper: arXiv:2309.06657
    """

    beta: float = Field(0.1, gt=0)
    """Reciprocal of the margin aimed for, per nat of log-ratio; usual 0.01 to 0.5."""

    def per_example(self, scores: PairScores) -> Tensor:
        margin_B = scores.chosen.logratio_B - scores.rejected.logratio_B
        return torch.relu(1 - self.beta * margin_B)
