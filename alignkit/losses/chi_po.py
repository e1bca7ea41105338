"""chi-PO (Huang et al. 2024, arXiv:2407.13399): DPO with the chi-squared divergence beside the KL.

Its link grows with the ratio of policy to reference itself, so beyond the reference a likelier chosen response counts
much more than an unlikelier rejected one, and the ratio stays bounded: it pulls the chosen response up rather than the
rejected one down. beta means less than with DPO: at the reference the link's slope is 2. Traps: sums, not means, stand
in the exponent, so long responses and concentrated token weights reach the cap first; beyond `bound` there is no
gradient at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.lazy import torch
from alignkit.loop.step import Metrics
from alignkit.losses.base import PairLoss
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor

CAP: Final = 20.0
"""Log-ratio, nats, from which the link grows linearly: e^20 is 4.9e8, and float32 knows its last digits only."""


class ChiPO(PairLoss):
    """Logistic loss of the margin between the linked log-ratios of chosen and rejected.

    Formula: -log sigmoid(m), m = beta * (phi(sum_t w_t b_t) - phi(sum_t w_t c_t)) cut to [-bound, bound],
        phi(s) = e^min(s, 20) + s; b, c log-ratios to the reference, w token weights
    Paper: arXiv:2407.13399; the cut is from memory, unverified
    """

    beta: float = Field(0.1, gt=0)
    """Strength of the pull to the reference; usual 0.01 to 0.5."""

    bound: float | None = Field(None, gt=0)
    """Largest margin, the paper's 2 R_max, twice the largest reward; null cuts nothing."""

    def needs(self) -> Needs:
        return Needs(reference=True)

    def per_example(self, scores: PairScores) -> Tensor:
        margin_B = self.beta * (link(scores.chosen.logratio_B) - link(scores.rejected.logratio_B))
        if self.bound is not None:
            margin_B = margin_B.clamp(-self.bound, self.bound)
        return -torch.nn.functional.logsigmoid(margin_B)

    def rewards(self, scores: PairScores) -> tuple[Tensor, Tensor]:
        chosen_B, rejected_B = (link(s.plain.logratio_B.detach()) for s in (scores.chosen, scores.rejected))
        return self.beta * chosen_B, self.beta * rejected_B

    def metrics(self, scores: PairScores) -> Metrics:
        capped = [(side.logratio_B.detach() > CAP).float() for side in (scores.chosen, scores.rejected)]
        return {"chi_po/capped": (sum(one.sum() for one in capped), float(sum(map(len, capped))))}


def link(sum_B: Tensor) -> Tensor:
    """[B] e^s + s of log-ratios s, nats, the exponent cut at `CAP`."""
    return sum_B.clamp_max(CAP).exp() + sum_B
