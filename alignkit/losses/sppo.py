"""SPPO (Wu et al. 2024, arXiv:2405.00675), the form with hard labels: log-ratios are regressed to fixed values.

A self-play method; on given pairs, with a winning probability of 1 and 0, what is left is a squared loss. Its gradient
is proportional to the distance in nats: at a small beta the targets are far and the steps large.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignkit.losses.base import LogRatioLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class SPPO(LogRatioLoss):
    """Squared distances of the two log-ratios from 1 / (2 beta) and from its negative.

    Token weights enter both log-ratios.

    Formula: (sum_t w_t b_t - 1 / (2 beta))^2 + (sum_t w_t c_t + 1 / (2 beta))^2; b, c log-ratios to the reference,
        w token weights
    Paper: arXiv:2405.00675 Eq. 4.7
    """

    def per_example(self, scores: PairScores) -> Tensor:
        target = 1 / (2 * self.beta)
        return (scores.chosen.logratio_B - target).square() + (scores.rejected.logratio_B + target).square()
