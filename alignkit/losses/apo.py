"""APO, anchored preference optimisation (D'Oosterlinck et al. 2024, arXiv:2408.06266, Eq. 7 and 8).

DPO does not say whether the chosen response should become likelier or the rejected one less likely; these two forms do,
by what the chosen response is worth beside what the model would have answered itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from alignkit.lazy import torch
from alignkit.losses.base import LogRatioLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class APO(LogRatioLoss):
    """Saturating loss of each response against the reference, or of both downwards with a margin.

    Token weights enter every log-ratio. The gradient vanishes for responses far on either side, wrong ones too.

    Formula: zero: sigmoid(-r_w) + sigmoid(r_l); down: sigmoid(r_w) + sigmoid(r_l - r_w); r_w = beta * sum_t w_t b_t,
        r_l = beta * sum_t w_t c_t, b, c log-ratios to the reference, w token weights
    Paper: arXiv:2408.06266 Eq. 7 and 8
    """

    form: Literal["zero", "down"] = "zero"
    """zero: chosen up, rejected down, for chosen responses better than the model's own; down: both down, rejected more,
    for chosen responses that are worse."""

    def per_example(self, scores: PairScores) -> Tensor:
        chosen_B, rejected_B = (self.beta * s.logratio_B for s in (scores.chosen, scores.rejected))
        if self.form == "zero":
            return torch.sigmoid(-chosen_B) + torch.sigmoid(rejected_B)
        return torch.sigmoid(chosen_B) + torch.sigmoid(rejected_B - chosen_B)
