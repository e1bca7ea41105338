"""NCA, noise contrastive alignment (Chen et al. 2024, arXiv:2402.05369), for pairs.

Each response is classified by itself as drawn from the preferred policy or from the reference, so the chosen response's
likelihood itself is held up, not only its lead. Minimised where the chosen log-ratio is positive but finite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignkit.lazy import torch
from alignkit.losses.base import LogRatioLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class NCA(LogRatioLoss):
    """Logistic losses of the two log-ratios, the chosen response's from both sides.

    Token weights enter the log-ratios of all three terms. It starts at 2 ln 2.

    Formula: -log sigmoid(r_w) - (log sigmoid(-r_w) + log sigmoid(-r_l)) / 2; r_w = beta * sum_t w_t b_t,
        r_l = beta * sum_t w_t c_t, b, c log-ratios to the reference, w token weights
    Paper: arXiv:2402.05369
    """

    def per_example(self, scores: PairScores) -> Tensor:
        chosen_B, rejected_B = (self.beta * s.logratio_B for s in (scores.chosen, scores.rejected))
        right_B, chosen_noise_B, rejected_noise_B = (
            -torch.nn.functional.logsigmoid(r_B) for r_B in (chosen_B, -chosen_B, -rejected_B)
        )
        return right_B + (chosen_noise_B + rejected_noise_B) / 2
