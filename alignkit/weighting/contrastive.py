"""Contrastive estimation of critical tokens (Lin et al. 2024, arXiv:2411.19943): which tokens led an answer astray.

Two models, one of correct and one of incorrect responses, are contrasted over the whole vocabulary. A rejected token
that the contrast finds unlikely is critical and gets the blame. It belongs with the loss `cdpo`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.contrasts import ContrastSlot, contrasts
from alignkit.contrasts.values import Estimate
from alignkit.lazy import torch
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting

if TYPE_CHECKING:
    from torch import Tensor


class ContrastiveEstimate(TokenWeighting):
    """Blame of rejected tokens, credit of chosen ones.

    Formula: 1 - s_t in a rejected response, s_t in a chosen one;
        s_t = softmax((1 + strength) * z+ - strength * z-)[y_t], z the logits of the two models; then `rescale`, which
        leaves them as they are by default
    Paper: arXiv:2411.19943
    """

    knows_prompt = False

    rescale: Literal["mean1", "sum1", "raw", "max1"] = "raw"
    """Final scale of each response; the method's weights are absolute, so they are kept by default."""

    contrast: ContrastSlot = Field(default_factory=lambda: contrasts.build("sft", {}))
    """The two models."""

    strength: float = Field(1.0, gt=0)
    """How far the estimate goes beyond the positive model, the paper's beta; dimensionless."""

    @property
    def _values(self) -> Estimate:
        return Estimate(contrast=self.contrast, strength=self.strength)

    def needs(self) -> Needs:
        return Needs(values=frozenset({self._values}))

    def raw(self, span: Span) -> Tensor:
        assert span.desirable_B is not None, "the step knows which response is which"
        estimate_BS = span.values[self._values].clamp(0, 1)
        return torch.where(span.desirable_B[:, None], estimate_BS, 1 - estimate_BS)
