"""What is minimised, and where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.lazy import torch
from alignkit.losses.base import PairLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class Template(PairLoss):
    """Logistic loss of the margin between chosen and rejected log-ratios.

    Formula: -log sigmoid(beta * (r_w - r_l)), r = sum_t W_t (log pi - log ref)
    """

    beta: float = Field(0.1, gt=0)
    """Strength of the pull to the reference, per nat of log-ratio; usual 0.01 to 0.5."""

    def needs(self) -> Needs:
        return Needs(reference=True)

    def per_example(self, scores: PairScores) -> Tensor:
        margin_B = self.beta * (scores.chosen.logratio_B - scores.rejected.logratio_B)
        return -torch.nn.functional.logsigmoid(margin_B)

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        chosen, rejected = scores.chosen.plain, scores.rejected.plain
        return self.beta * chosen.logratio_B.detach(), self.beta * rejected.logratio_B.detach()
