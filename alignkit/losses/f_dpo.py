"""f-DPO (Wang et al. 2023, arXiv:2309.16240): DPO whose pull to the reference is another divergence than the KL.

The reward that a policy implies is beta f'(pi / ref) for a divergence with generator f, so the log-ratio gives way to
f' of the ratio. Reverse KL is DPO. The others rise more slowly above the reference, so that a margin must be won by
making the rejected response less likely; forward KL and a small alpha grow exponentially with what a response has lost,
and so do their gradients.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from alignkit.lazy import torch
from alignkit.losses.base import LogRatioLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_EXPONENT = 80.0
"""Beyond which e^x is held, with no gradient: float32 ends at 88."""


class FDPO(LogRatioLoss):
    """Logistic loss of the margin between f' of the responses' probability ratios to the reference.

    Token weights enter S, so that the ratio is e^S of the weighted sum. The rewards of the log are beta S whatever the
    divergence, to be comparable. With `forward_kl` and `alpha` the exponent is held at 80, where the gradient ends.

    Formula: -log sigmoid(beta * (g(S_w) - g(S_l))); reverse_kl: g(S) = S; forward_kl: 1 - exp(-S);
        js: log 2 + log sigmoid(S); alpha: (exp((alpha - 1) S) - 1) / (alpha - 1); S_w = sum_t w_t b_t,
        S_l = sum_t w_t c_t, b, c log-ratios to the reference, w token weights
    Paper: arXiv:2309.16240
    """

    divergence: Literal["reverse_kl", "forward_kl", "js", "alpha"] = "js"
    """From the reference: reverse_kl is DPO, js saturates above the reference, forward_kl does and explodes below it,
    alpha lies between forward_kl (0) and reverse_kl (1)."""

    alpha: float | None = Field(None, gt=0, lt=1)
    """Place between forward_kl and reverse_kl, divergence alpha only; dimensionless. Null means 0.5."""

    @model_validator(mode="after")
    def _alpha_has_a_role(self) -> Self:
        if self.divergence != "alpha" and self.alpha is not None:
            raise PydanticCustomError(
                "alpha", f"alpha belongs to divergence alpha; {self.divergence} has none, got {self.alpha}"
            )
        return self

    def per_example(self, scores: PairScores) -> Tensor:
        chosen_B, rejected_B = (self._derivative(s.logratio_B) for s in (scores.chosen, scores.rejected))
        return -torch.nn.functional.logsigmoid(self.beta * (chosen_B - rejected_B))

    def _derivative(self, logratio_B: Tensor) -> Tensor:
        """[B] f' of the ratio."""
        if self.divergence == "reverse_kl":
            return logratio_B
        if self.divergence == "js":
            return math.log(2) + torch.nn.functional.logsigmoid(logratio_B)
        # Forward KL is alpha 0.
        alpha = 0.0 if self.divergence == "forward_kl" else 0.5 if self.alpha is None else self.alpha
        return torch.expm1(((alpha - 1) * logratio_B).clamp_max(LARGEST_EXPONENT)) / (alpha - 1)
