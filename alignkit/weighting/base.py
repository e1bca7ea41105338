"""What every token weighting shares: the span, the mask, the final scale and the detach point.

A strategy only says how important each token is (`raw`), on any scale. The base class turns that into weights, so that
`beta` means the same under every strategy and uniform weights reproduce the unweighted loss bit for bit.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Literal, final

from alignkit.errors import NonFiniteError
from alignkit.lazy import torch
from alignkit.registry import Component
from alignkit.scores import Needs, Span

if TYPE_CHECKING:
    from torch import Tensor


class TokenWeighting(Component):
    """Base of the token weightings. Subclasses define `raw`, and `needs` when they need anything."""

    rescale: Literal["mean1", "sum1", "raw", "max1"] = "mean1"
    """Final scale of each response: mean 1 keeps beta's meaning; sum 1, maximum 1, or none are for comparisons."""

    scope: Literal["response", "full_sequence"] = "response"
    """Tokens that a weighting is normalised over; `full_sequence` is the paper's released code, prompt included."""

    def needs(self) -> Needs:
        """What the step must compute for this weighting; nothing by default."""
        return Needs()

    @abstractmethod
    def raw(self, span: Span) -> Tensor:
        """[B, S] importance >= 0 of each token on any scale; what lies off the mask is ignored."""

    @final
    def all_needs(self) -> Needs:
        """`needs`, and the prompt's importances when the scope asks for them."""
        return self.needs() | Needs(full_sequence=self.scope == "full_sequence")

    @final
    def weights(self, span: Span) -> Tensor:
        """[B, T] detached weights of the response tokens, 0 off the mask, rescaled over the span.

        A response whose importances are all zero (one token, say) gets equal weights instead.

        Raises:
            NonFiniteError: the strategy returned NaN or infinity.
        """
        with torch.no_grad():
            raw_BS = self.raw(span).masked_fill(~span.mask_BS, 0.0)
            if not bool(torch.isfinite(raw_BS).all()):
                raise NonFiniteError(f"weighting '{self.name}' returned a weight that is NaN or infinite")
            empty_B1 = raw_BS.sum(-1, keepdim=True) == 0
            raw_BS = torch.where(empty_B1, span.mask_BS.to(raw_BS.dtype), raw_BS)
            return self._rescaled(raw_BS, span)[:, span.num_prompt :]

    def _rescaled(self, raw_BS: Tensor, span: Span) -> Tensor:
        if self.rescale == "raw":
            return raw_BS
        tiny = torch.finfo(raw_BS.dtype).tiny  # rows that are padding only stay 0 instead of 0 / 0
        if self.rescale == "max1":
            return raw_BS / raw_BS.amax(-1, keepdim=True).clamp_min(tiny)
        total_B1 = raw_BS.sum(-1, keepdim=True).clamp_min(tiny)
        if self.rescale == "sum1":
            return raw_BS / total_B1
        # Factor first: for uniform weights it is exactly 1, so they leave the loss bit for bit as it was.
        return raw_BS * (span.length_B[:, None] / total_B1)
