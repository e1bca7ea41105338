"""What every token weighting shares: the span, the mask, the final scale and the detach point.

A strategy only says how important each token is (`raw`), on any scale. The base class turns that into weights, so that
`beta` means the same under every strategy and uniform weights reproduce the unweighted loss bit for bit.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, final

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from alignkit.asks.needs import Needs
from alignkit.errors import NonFiniteError
from alignkit.finite import require
from alignkit.lazy import torch
from alignkit.registry import Component
from alignkit.scores import Span

if TYPE_CHECKING:
    from torch import Tensor


class TokenWeighting(Component):
    """Base of the token weightings. Subclasses define `raw`, and `needs` when they need anything."""

    knows_prompt: ClassVar[bool] = True
    """Whether `raw` says anything of prompt tokens, which `scope: full_sequence` asks for."""

    rescale: Literal["mean1", "sum1", "raw", "max1"] = "mean1"
    """Final scale of each response: mean 1 keeps beta's meaning; sum 1, maximum 1, or none are for comparisons."""

    scope: Literal["response", "full_sequence"] = "response"
    """Tokens that a weighting is normalised over; `full_sequence` is the paper's released code, prompt included."""

    clip: Annotated[tuple[float, float], Field(strict=False)] | None = None
    """Lowest and highest weight, such as [0.2, 5]; applied after `rescale`, so the mean moves where it acts."""

    @field_validator("clip")
    @classmethod
    def _clip_is_a_range(cls, clip: tuple[float, float] | None) -> tuple[float, float] | None:
        if clip is not None and not 0 <= clip[0] < clip[1]:
            raise PydanticCustomError("clip", f"expected [low, high] with 0 <= low < high, got {list(clip)}")
        return clip

    @property
    def is_neutral(self) -> bool:
        """Whether every token weighs 1, so that leaving it out changes nothing."""
        return False

    def needs(self) -> Needs:
        """What the step must compute for this weighting; nothing by default."""
        return Needs()

    @abstractmethod
    def raw(self, span: Span) -> Tensor:
        """[B, S] importance >= 0 of each token on any scale; what lies off the mask is ignored."""

    def share(self, span: Span) -> Tensor:
        """[B, S] what a mixture takes of this weighting: `raw` scaled to sum 1 over each span, 0 off the mask."""
        return shares(self.raw(span), span.mask_BS)

    def parts(self, span: Span) -> Mapping[str, Tensor]:
        """Name -> [B, S] what `raw` was mixed from, for whoever looks at it; none where nothing is mixed."""
        return {}

    @final
    def all_needs(self) -> Needs:
        """`needs`, and the prompt's importances when the scope asks for them."""
        return self.needs() | Needs(full_sequence=self.scope == "full_sequence")

    @final
    def weights(self, span: Span) -> Tensor:
        """[B, T] detached weights of the response tokens, 0 off the mask, rescaled over the span, then clipped.

        A response whose importances are all zero (one token, say) gets equal weights instead, but for `rescale: raw`.

        Raises:
            NonFiniteError: the strategy returned a negative number, NaN or infinity, or another shape.
        """
        return self.scaled(span)[:, span.num_prompt :]

    @final
    def scaled(self, span: Span) -> Tensor:
        """[B, S] `weights` of the whole span, the prompt's included: what a product takes of this weighting.

        Raises:
            NonFiniteError: as for `weights`.
        """
        with torch.no_grad():
            raw_BS = self.raw(span)
            if raw_BS.shape != span.mask_BS.shape:
                shapes = f"{list(raw_BS.shape)}, expected [B, S] = {list(span.mask_BS.shape)}"
                raise NonFiniteError(f"weighting '{self.name}' returned weights of shape {shapes}")
            raw_BS = raw_BS.masked_fill(~span.mask_BS, 0.0)
            is_usable = ((raw_BS >= 0) & torch.isfinite(raw_BS)).all()
            require(is_usable, f"weighting '{self.name}' returned a weight that is negative, NaN or infinite")
            if self.rescale != "raw":  # an absolute 0 means what it says, a share of nothing does not
                empty_B1 = raw_BS.sum(-1, keepdim=True) == 0
                raw_BS = torch.where(empty_B1, span.mask_BS.to(raw_BS.dtype), raw_BS)
            weights_BS = self._rescaled(raw_BS, span)
            if self.clip is not None:
                weights_BS = weights_BS.clamp(*self.clip).masked_fill(~span.mask_BS, 0.0)
            return weights_BS

    def _rescaled(self, raw_BS: Tensor, span: Span) -> Tensor:
        if self.rescale == "raw":
            return raw_BS
        if self.rescale == "sum1":
            return shares(raw_BS, span.mask_BS)
        tiny = torch.finfo(raw_BS.dtype).tiny
        if self.rescale == "max1":
            return raw_BS / raw_BS.amax(-1, keepdim=True).clamp_min(tiny)
        # Factor first: for uniform weights it is exactly 1, so they leave the loss bit for bit as it was.
        return raw_BS * (span.length_B[:, None] / raw_BS.sum(-1, keepdim=True).clamp_min(tiny))


def shares(raw_BS: Tensor, mask_BS: Tensor) -> Tensor:
    """[B, S] `raw_BS` scaled to sum 1 over each row's mask and 0 off it; a row that sums to 0 stays 0."""
    raw_BS = raw_BS.masked_fill(~mask_BS, 0.0)
    tiny = torch.finfo(raw_BS.dtype).tiny  # 0 instead of 0 / 0
    return raw_BS / raw_BS.sum(-1, keepdim=True).clamp_min(tiny)
