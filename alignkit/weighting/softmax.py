"""Softmax of another weighting's standardised values (TI-DPO's ablation row "softmax prior").

The paper does not say what the row means. As the `prior` of a hybrid this is the first reading (the Gaussian replaced
by a softmax of the importances), as its `gradient` the other one (importances normalised by softmax, not by their sum).
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

if TYPE_CHECKING:
    from torch import Tensor


class Softmax(TokenWeighting):
    """Softmax over the span of z-scores (population standard deviation).

    Formula: softmax_t((x_t - mean x) / std x / temperature), x the values of the part `of`
    Paper: arXiv:2505.19653 Table 2; temperature 1 is our reading
    """

    of: Part = Field(default_factory=lambda: Gradient(name="gradient"))
    """The weighting whose values are standardised."""

    temperature: float = Field(1.0, gt=0)
    """Divides the z-scores; dimensionless. Below 1 sharpens, above 1 flattens."""

    def needs(self) -> Needs:
        return self.of.needs()

    def parts(self, span: Span) -> Mapping[str, Tensor]:
        return {self.of.name: self.of.share(span)}

    def raw(self, span: Span) -> Tensor:
        x_BS = self.of.share(span)
        count_B1 = span.length_B[:, None].clamp_min(1)
        centred_BS = (x_BS - x_BS.sum(-1, keepdim=True) / count_B1).masked_fill(~span.mask_BS, 0.0)
        std_B1 = (centred_BS.square().sum(-1, keepdim=True) / count_B1).sqrt()
        z_BS = centred_BS / std_B1.clamp_min(torch.finfo(x_BS.dtype).tiny)  # equal values: 0, not 0 / 0
        return torch.softmax((z_BS / self.temperature).masked_fill(~span.mask_BS, -torch.inf), -1)
