"""Uni-DPO's pair weights (arXiv:2506.10054): more for pairs of clear quality, less for pairs already learnt.

Quality comes from scores in the data, performance from the policy's own margin between mean log-probs. Beside it belong
the losses `sigmoid_norm`, with the same beta, and `calibrated_nll`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.lazy import torch
from alignkit.pair_weighting.base import PairWeighting
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class UniDPO(PairWeighting):
    """Quality x performance of each pair.

    Performance looks at unweighted means even where token weights are on: it diagnoses the pair, not its tokens. The
    gradient flows through it, as in all three copies of the authors' code; `detach_performance` stops it.

    Formula: sigmoid(eta * (S_w - S_l)) * (1 - sigmoid(beta * (m_w - m_l) - tau_ref))^gamma; S scores from the data,
        m mean log-probs of the policy
    Paper: arXiv:2506.10054
    """

    score_chosen: str = "score_chosen"
    """Data column with the quality of the chosen response, on any scale."""

    score_rejected: str = "score_rejected"
    """Data column with the quality of the rejected response, on the same scale."""

    eta: float = Field(0.7, gt=0)
    """How fast the quality weight rises with the difference of the scores, per unit of score; the authors have 0.7."""

    beta: float = Field(2.0, gt=0)
    """Scale of the policy's margin, per nat of mean log-prob; the loss's own beta, usual 2 to 10."""

    tau_ref: float = 0.8
    """Margin, times beta, at which a pair counts half learnt; dimensionless, usual 0.8 (text) to 2 (maths)."""

    gamma: float = Field(3.0, ge=0)
    """How sharply learnt pairs fade; dimensionless, usual 1 to 3, and 0 leaves performance out."""

    detach_performance: bool = False
    """Treat the performance weight as a constant."""

    def needs(self) -> Needs:
        return Needs(columns=frozenset({self.score_chosen, self.score_rejected}))

    def per_pair(self, scores: PairScores) -> Tensor:
        quality_B = torch.sigmoid(self.eta * (scores.columns[self.score_chosen] - scores.columns[self.score_rejected]))
        margin_B = scores.chosen.plain.mean_policy_B - scores.rejected.plain.mean_policy_B
        # 1 - s(x) = s(-x), and its power through the logarithm: no cancellation, and a gradient where s underflows.
        performance_B = torch.exp(self.gamma * torch.nn.functional.logsigmoid(self.tau_ref - self.beta * margin_B))
        return quality_B * (performance_B.detach() if self.detach_performance else performance_B)
