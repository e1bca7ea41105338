"""Uni-DPO's calibrated likelihood term (arXiv:2506.10054): imitate good chosen responses that have lost likelihood.

It belongs beside `sigmoid_norm` and the pair weighting `uni_dpo`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.losses.base import PairLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class CalibratedNLL(PairLoss):
    """Negative mean log-likelihood of the chosen response where it is good and the reference finds it likelier.

    Which pairs count is decided on unweighted means: it diagnoses the pair, not its tokens.

    Formula: -1[sum_t lr_t > sum_t lp_t] * 1[score_chosen >= good_from] * sum_t w_t lp_t / T over the chosen response;
        lp, lr log-probs of policy and reference, w token weights, T response tokens
    Paper: arXiv:2506.10054
    """

    coefficient: float = Field(0.001, gt=0)
    """Factor of this loss in the objective, the paper's lambda; dimensionless, usual 0.001 (text) to 0.2 (maths)."""

    pair_weighted: bool = False
    """Whether the pair weighting multiplies this loss; the paper adds it outside."""

    score_chosen: str = "score_chosen"
    """Data column with the quality of the chosen response, on any scale."""

    good_from: float = 3.2
    """Score from which a chosen response is worth imitating, the paper's tau_good, on the column's scale; the authors
    have 3.2 for text and 8 for maths."""

    def needs(self) -> Needs:
        return Needs(reference=True, columns=frozenset({self.score_chosen}))

    def per_example(self, scores: PairScores) -> Tensor:
        has_lost_B = scores.chosen.plain.logratio_B.detach() < 0
        is_good_B = scores.columns[self.score_chosen] >= self.good_from
        return (-scores.chosen.mean_policy_B).masked_fill(~(has_lost_B & is_good_B), 0.0)
