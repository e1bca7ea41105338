"""A bell over the response: tokens in its middle count most (TI-DPO, arXiv:2505.19653, Eq. 7).

It needs no attribution and knows no content. The paper calls P unnormalised and mixes its peak of 1 with importances
that sum to 1, which leaves the gradient 1.5 % of the weight at 256 tokens; here P sums to 1 unless told otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from alignkit.lazy import torch
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting, shares

if TYPE_CHECKING:
    from torch import Tensor


class Prior(TokenWeighting):
    """Gaussian of the token's position, centred in the span.

    Formula: P_t = exp(-((t - mu) / sigma)^2 / 2), t = 0 .. T-1, mu = (T - 1) / 2, sigma = max(sigma_min, T / divisor)
    Paper: arXiv:2505.19653 Eq. 7
    """

    shape: Literal["gaussian"] = "gaussian"
    """Form of the curve."""

    sigma_divisor: float = Field(4.0, gt=0)
    """Standard deviation is the number of tokens over this; dimensionless. Paper 4, released code 8."""

    sigma_min: float = Field(0.0, ge=0)
    """Floor of the standard deviation, tokens. Paper 0, released code 1."""

    normalise: bool = True
    """Scale to sum 1, so that a hybrid's `mix` is the share of its gradient; false is the literal Eq. 7, peak 1."""

    def raw(self, span: Span) -> Tensor:
        length_B1 = span.length_B[:, None].to(torch.float32)
        sigma_B1 = (length_B1 / self.sigma_divisor).clamp_min(self.sigma_min)
        z_BS = (span.index_BS - (length_B1 - 1) / 2) / sigma_B1
        peak1_BS = torch.exp(-0.5 * z_BS**2)
        return shares(peak1_BS, span.mask_BS) if self.normalise else peak1_BS.masked_fill(~span.mask_BS, 0.0)

    def share(self, span: Span) -> Tensor:
        """[B, S] as configured: the literal Eq. 8 mixes the curve unnormalised."""
        return self.raw(span)
