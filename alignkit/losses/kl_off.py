"""No distance from the reference where a token carries no preference: a penalty beside a loss of pairs; ours.

Token weights take the signal from a token, but parameters are shared, so what is learnt at the others moves it too.
This penalty holds it where it was, and lets go of tokens that weigh 1 or more. Weights that are nowhere far below 1
leave little of it. A penalty on all tokens alike moves along the frontier of reward and KL, so compare at equal KL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignkit.asks.needs import Needs
from alignkit.losses.base import PairLoss
from alignkit.models.statistics import ForwardKL
from alignkit.scores import PairScores, TokenScores

if TYPE_CHECKING:
    from torch import Tensor

KL = ForwardKL()
"""How far the policy is from the reference at each token."""


class KLOff(PairLoss):
    """KL to the reference on tokens that weigh less than 1, as much as is missing to 1, of chosen and rejected.

    It stands beside a loss that learns from the pair, and its `coefficient` says how strongly it holds: 0.1 to 1. Under
    equal weights it is 0.

    Formula: sum_t (1 - min(1, w_t)) k_t of chosen + the same of rejected; w token weights, k_t = KL(ref || pi)
    Paper: none; ours
    """

    reads_weights = True

    def needs(self) -> Needs:
        return Needs(reference=True, statistics=frozenset({KL}))

    def per_example(self, scores: PairScores) -> Tensor:
        return _off(scores.chosen) + _off(scores.rejected)


def _off(scores: TokenScores) -> Tensor:
    """[B] nats."""
    missing_BT = 1 - scores.weights_BT.clamp(max=1)
    return (missing_BT * scores.statistics[KL]).sum(-1)
