"""Identity preference optimisation (Azar et al. 2023, arXiv:2310.12036, Eq. 17).

The margin is pulled to a fixed size instead of as far as it goes, so certain preferences do not overrule the reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.losses.base import LogRatioLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class IPO(LogRatioLoss):
    """Squared distance of the margin from 1 / (2 beta).

    Formula: (sum_t w_t b_t / T_w - sum_t w_t c_t / T_l - 1 / (2 beta))^2; without `length_norm` sums instead of means;
        b, c log-ratios to the reference, w token weights, T response tokens
    Paper: arXiv:2310.12036 Eq. 17
    """

    beta: float = Field(0.1, gt=0)
    """The paper's tau: the margin aimed for is 1 / (2 beta) nats; usual 0.01 to 1."""

    length_norm: bool = True
    """Mean log-ratios, as TRL has it and reports the authors to mean; false is the paper's Eq. 17, which sums."""

    def per_example(self, scores: PairScores) -> Tensor:
        chosen_B, rejected_B = (
            s.mean_logratio_B if self.length_norm else s.logratio_B for s in (scores.chosen, scores.rejected)
        )
        return (chosen_B - rejected_B - 1 / (2 * self.beta)).square()
