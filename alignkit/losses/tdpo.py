"""Token-level DPO (Zeng et al. 2024, arXiv:2404.11999): DPO with a penalty on the sequential KL to the reference.

Its KL runs over the whole vocabulary at every response position, forward (reference to policy), and is never weighted
by token. On hybrid token weights version 2 is what TI-DPO's released code trains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from alignkit.asks.needs import Needs
from alignkit.lazy import torch
from alignkit.losses.base import PairLoss
from alignkit.models.statistics import ForwardKL
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor

KL = ForwardKL()
"""The sequential KL at each token."""


class TDPO(PairLoss):
    """Logistic loss of the log-ratio margin less the margin of the sequential KLs.

    Formula: -log sigmoid(beta * (sum_t w_t b_t - sum_t w_t c_t - alpha * (K_rejected - stopgrad(K_chosen)))),
        K = sum_t KL(ref || pi); version 1: alpha = 1, no stopgrad
    Paper: arXiv:2404.11999
    """

    beta: float = Field(0.1, gt=0)
    """Strength of the pull to the reference, per nat; usual 0.01 to 0.5."""

    version: Literal[1, 2] = 2
    """TDPO1 for low learning rates, TDPO2 for higher ones. The authors' config file says 1, their code's default 2."""

    alpha: float | None = Field(None, ge=0)
    """Weight of the KL margin, version 2 only; dimensionless. Null means 0.5; usual 0.1 to 0.5."""

    @model_validator(mode="after")
    def _alpha_has_a_role(self) -> Self:
        if self.version == 1 and self.alpha is not None:
            raise PydanticCustomError(
                "alpha", f"alpha is the KL weight of version 2; version 1 has none, got {self.alpha}"
            )
        return self

    def needs(self) -> Needs:
        return Needs(reference=True, statistics=frozenset({KL}))

    def per_example(self, scores: PairScores) -> Tensor:
        margin_B = scores.chosen.logratio_B - scores.rejected.logratio_B
        if self.version == 1:
            kl_margin_B = scores.rejected.statistic_B(KL) - scores.chosen.statistic_B(KL)
        else:
            # The chosen response's KL is a constant: lowering the loss must not mean leaving the reference there.
            alpha = 0.5 if self.alpha is None else self.alpha
            kl_margin_B = alpha * (scores.rejected.statistic_B(KL) - scores.chosen.statistic_B(KL).detach())
        return -torch.nn.functional.logsigmoid(self.beta * (margin_B - kl_margin_B))

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        sides = (scores.chosen, scores.rejected)
        chosen_B, rejected_B = ((s.logratio_BT.sum(-1) + s.statistic_B(KL)).detach() for s in sides)
        return self.beta * chosen_B, self.beta * rejected_B
