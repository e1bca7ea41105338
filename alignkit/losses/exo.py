"""EXO (Ji et al. 2024, arXiv:2402.00856, Eq. 16), for pairs: DPO with the divergence turned round.

DPO fits the policy's preference to the label by the forward KL, which spreads; EXO by the reverse KL, which settles on
what the label is sure of. A label that is quite sure would make it infinite, so some smoothing is needed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.lazy import torch
from alignkit.losses.base import LogRatioLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class EXO(LogRatioLoss):
    """Reverse KL from the smoothed label to the policy's preference between the two responses.

    Token weights enter both log-ratios. It is zero, and flat, where the policy prefers the chosen response with
    probability 1 - eps; a pair that is far on the wrong side has almost no gradient.

    Formula: q log(q / (1 - eps)) + (1 - q) log((1 - q) / eps), q = sigmoid(beta * (sum_t w_t b_t - sum_t w_t c_t));
        b, c log-ratios to the reference, w token weights
    Paper: arXiv:2402.00856 Eq. 16
    """

    label_smoothing: float = Field(0.001, gt=0, lt=0.5)
    """Probability of the rejected response, eps, in the label; 0.001 in the paper."""

    def per_example(self, scores: PairScores) -> Tensor:
        margin_B = self.beta * (scores.chosen.logratio_B - scores.rejected.logratio_B)
        sides = ((margin_B, 1 - self.label_smoothing), (-margin_B, self.label_smoothing))
        right_B, swapped_B = (
            torch.sigmoid(m_B) * (torch.nn.functional.logsigmoid(m_B) - math.log(share)) for m_B, share in sides
        )
        return right_B + swapped_B
