"""Imitation of the chosen response beside a preference loss, as RPO has it (Pang et al. 2024, arXiv:2404.19733).

It keeps the likelihood of the chosen response from falling, which a margin alone allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignkit.losses.base import PairLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class NLL(PairLoss):
    """Negative log-likelihood of the chosen response, per token.

    The sum over pairs is divided by the number of chosen tokens of the optimizer step, as in `sft`. Its `coefficient`
    is TRL's `rpo_alpha`. Departure from the paper, which divides each response by its own length.

    Formula: -sum_t w_t log pi(y_t | x, y_<t) over the chosen response; w token weights
    Paper: arXiv:2404.19733
    """

    unit = "tokens"

    def per_example(self, scores: PairScores) -> Tensor:
        return -scores.chosen.policy_B
