"""TI-DPO's token weights: gradient importance mixed with a prior (arXiv:2505.19653, Eq. 8).

Either part may be any weighting, each scaled to sum 1 before mixing, so `mix` is exactly the gradient's share of the
total weight. A part that gets no share is not asked for anything: `mix: 0` needs no backward pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.lazy import torch
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting
from alignkit.weighting.gradient import Gradient
from alignkit.weighting.part import Part
from alignkit.weighting.prior import Prior

if TYPE_CHECKING:
    from torch import Tensor


class Hybrid(TokenWeighting):
    """Mixture of gradient importance and a prior.

    Formula: W_t = mix * I_t + (1 - mix) * P_t, sum I = sum P = 1, then `rescale`
    Paper: arXiv:2505.19653 Eq. 8; mix 0.7 in Table B13
    """

    mix: float = Field(0.7, ge=0, le=1)
    """Share of the gradient part, the paper's lambda; dimensionless, stable from 0.3 to 0.7."""

    gradient: Part = Field(default_factory=lambda: Gradient(name="gradient"))
    """The part that looks at the model."""

    prior: Part = Field(default_factory=lambda: Prior(name="prior"))
    """The part that is mixed in, and all there is for a response whose gradient is zero everywhere."""

    def needs(self) -> Needs:
        gradient = self.gradient.needs() if self.mix > 0 else Needs()
        return gradient | (self.prior.needs() if self.mix < 1 else Needs())

    def parts(self, span: Span) -> Mapping[str, Tensor]:
        parts = {"gradient": self.gradient.share(span)} if self.mix > 0 else {}
        return parts | ({"prior": self.prior.share(span)} if self.mix < 1 else {})

    def raw(self, span: Span) -> Tensor:
        if self.mix == 0:
            return self.prior.share(span)
        gradient_BS = self.gradient.share(span)
        if self.mix == 1:
            return gradient_BS
        prior_BS = self.prior.share(span)
        silent_B1 = gradient_BS.sum(-1, keepdim=True) == 0
        return torch.where(silent_B1, prior_BS, self.mix * gradient_BS + (1 - self.mix) * prior_BS)
