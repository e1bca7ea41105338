"""Cal-DPO (Xiao et al. 2024, arXiv:2412.14516): DPO whose rewards are also pulled to fixed values.

DPO fixes only a difference, so both responses may lose likelihood. Here the log-ratio of the chosen response is drawn
to 1 / (2 beta) and that of the rejected one to its negative. As released, the logistic term has no beta: it is DPO at
beta 1, and at the authors' beta of 0.002 the targets lie 250 nats off, where the squares outweigh it by far.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.lazy import torch
from alignkit.losses.base import LogRatioLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class CalDPO(LogRatioLoss):
    """Logistic loss of the plain log-ratio margin, and half the squared distances of the log-ratios from their targets.

    Token weights enter all three terms.

    Formula: -log sigmoid(S_w - S_l) + ((S_w - 1 / (2 beta))^2 + (S_l + 1 / (2 beta))^2) / 2; S_w = sum_t w_t b_t,
        S_l = sum_t w_t c_t, b, c log-ratios to the reference, w token weights
    Paper: arXiv:2412.14516
    """

    beta: float = Field(0.002, gt=0)
    """Reciprocal of the distance between the targets, per nat of log-ratio; 0.002 in the authors' configuration."""

    def per_example(self, scores: PairScores) -> Tensor:
        chosen_B, rejected_B = scores.chosen.logratio_B, scores.rejected.logratio_B
        target = 1 / (2 * self.beta)
        distance_B = (chosen_B - target).square() + (rejected_B + target).square()
        return distance_B / 2 - torch.nn.functional.logsigmoid(chosen_B - rejected_B)
