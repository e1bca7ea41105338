"""WPO, weighted preference optimisation (Zhou et al. 2024, arXiv:2406.11827): likelier pairs count more.

Pairs that another model wrote are weighted by how likely the policy is to have written them, so that training looks as
if it were on-policy. It goes with any pairwise loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from alignkit.asks.needs import Needs
from alignkit.models.statistics import Collision
from alignkit.pair_weighting.base import PairWeighting
from alignkit.scores import PairScores, TokenScores

if TYPE_CHECKING:
    from torch import Tensor


class WPO(PairWeighting):
    """The policy's mean likelihood of both responses, as a constant.

    A token's likelihood is divided by what a token sampled from the policy would have on average (`sampled`), so that a
    response of the policy's own has a weight near 1; and no weight exceeds 1, where TRL 1.16 sets no limit.

    Formula: min(1, exp(a(chosen) + a(rejected))), a = mean_t (lp_t - log sum_v pi_t(v)^2), detached; lp log-probs of
        the policy, unweighted; without alignment a = mean_t lp_t
    Paper: arXiv:2406.11827 Eq. 2
    """

    alignment: Literal["sampled", "none"] = "sampled"
    """What a token's likelihood is compared with: a sampled token's on average, the paper's best; or nothing."""

    def needs(self) -> Needs:
        return Needs(statistics=frozenset({Collision()}) if self.alignment == "sampled" else frozenset())

    def per_pair(self, scores: PairScores) -> Tensor:
        return (self._closeness_B(scores.chosen) + self._closeness_B(scores.rejected)).exp().clamp_max(1.0)

    def _closeness_B(self, scores: TokenScores) -> Tensor:
        logp_B = scores.plain.mean_policy_B.detach()
        if self.alignment == "none":
            return logp_B
        return logp_B - scores.statistic_B(Collision()) / scores.length_B
