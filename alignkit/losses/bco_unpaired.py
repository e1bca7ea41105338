"""BCO, binary classifier optimisation (Jung et al. 2024, arXiv:2404.04656), for responses without pairs.

As `bco`; the running mean is over desirable and undesirable responses as they come, so it leans to the more frequent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignkit.lazy import torch
from alignkit.losses.base import UnpairedLoss
from alignkit.losses.bco import Centred
from alignkit.scores import UnpairedScores

if TYPE_CHECKING:
    from torch import Tensor


class BCOUnpaired(Centred, UnpairedLoss):
    """Logistic loss of the centred reward, up for desirable and down for undesirable responses.

    Token weights enter the log-ratio and its running mean alike.

    Formula: -log sigmoid(beta * (S - delta)) if desirable, else -log sigmoid(-beta * (S - delta)); S = sum_t w_t b_t,
        b log-ratios to the reference, w token weights; delta the mean of S over all responses of this step and those
        before
    Paper: arXiv:2404.04656
    """

    def observe(self, scores: UnpairedScores) -> Tensor:
        return scores.response.logratio_B[:, None]

    def per_example(self, scores: UnpairedScores) -> Tensor:
        lead_B = self.beta * (scores.response.logratio_B - self.centre(scores))
        return -torch.nn.functional.logsigmoid(torch.where(scores.desirable_B, lead_B, -lead_B))

    def rewards(self, scores: UnpairedScores) -> Tensor:
        return self.beta * scores.response.plain.logratio_B.detach()
