"""Critical-token DPO (Lin et al. 2024, "Critical Tokens Matter", arXiv:2411.19943): blame the tokens that went wrong.

Weights say how much a rejected token caused the error: a token weighting gives them, 1 - s_t of contrastive estimation
(`rescale: raw`) in the paper; the chosen response counts evenly, whatever weights it was given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from alignkit.lazy import torch
from alignkit.losses.base import LogRatioLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class CDPO(LogRatioLoss):
    """Logistic loss of the margin between the chosen and the token-weighted rejected log-ratios.

    Not conservative DPO, which is `dpo` with label smoothing. Its weights come from the token weighting `contrastive`.
    The summed form is our reading of the derivation; the paper's equation is unverified.

    The authors' code takes the logistic loss at each position and averages (`per_position`); the summed margin follows
    from their derivation. Departure from that code: it also averages over prompt and padding, which adds ln 2 for each
    such position and makes the loss depend on the batch; here the mean is over the longer of the two responses.

    Formula: -log sigmoid(beta * (sum_t b_t - sum_t w_t c_t)); per_position:
        mean over t <= max(T_w, T_l) of -log sigmoid(beta * (b_t - w_t c_t)), 0 beyond the end of a response;
        b, c log-ratios to the reference, w token weights, T response tokens
    Paper: arXiv:2411.19943; per_position: the authors' code
    """

    form: Literal["sequence", "per_position"] = "sequence"
    """Where the logistic loss is taken: of the summed margin, or at each position, index in the response by index."""

    weigh_chosen: bool = False
    """Weigh the chosen tokens too (the code's `only_neg: false`, where they get s_t)."""

    def per_example(self, scores: PairScores) -> Tensor:
        chosen, rejected = scores.chosen if self.weigh_chosen else scores.chosen.plain, scores.rejected
        if self.form == "sequence":
            return -torch.nn.functional.logsigmoid(self.beta * (chosen.logratio_B - rejected.logratio_B))
        width = max(s.mask_BT.shape[-1] for s in (chosen, rejected))
        b_BT, c_BT = (s.by_index(s.weights_BT * s.logratio_BT, width) for s in (chosen, rejected))
        loss_BT = -torch.nn.functional.logsigmoid(self.beta * (b_BT - c_BT))
        length_B = torch.maximum(chosen.length_B, rejected.length_B)
        beyond_BT = torch.arange(width, device=loss_BT.device) >= length_B[:, None]
        return loss_BT.masked_fill(beyond_BT, 0.0).sum(-1) / length_B
