"""TIS-DPO's token weights (Liu et al. 2024, arXiv:2410.04350): what two contrastive models say a token is worth.

A token that the positive model finds likelier than the negative one carries reward: it weighs more in a chosen and less
in a rejected response. The log-ratio is computed once, before training, and then turned into weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from alignkit.asks.needs import Needs
from alignkit.contrasts import ContrastSlot, contrasts
from alignkit.contrasts.values import LogRatio
from alignkit.lazy import torch
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting
from alignkit.weighting.ranks import average_ranks

if TYPE_CHECKING:
    from torch import Tensor

LIMITS = {"clamp": (-0.5, 1.5), "threshold": (-1.5, 1.5)}
"""Log-ratios, nats, that a transform cuts to when no others are given."""

SCALE = (0.7, 1.3)
"""Lowest and highest weight of `rank` and `threshold` when no others are given."""


class TIS(TokenWeighting):
    """Transformed log-ratio of two contrastive models.

    Formula: g_t = +-(log pi+ - log pi-) of the token, + in a chosen and - in a rejected response; rank: its rank in the
        response, mapped to `scale`; clamp: exp(+-(log pi+ - log pi- cut to `limits`)); threshold: g_t cut to
        `limits`, mapped to `scale`; then `rescale`, which leaves them as they are by default
    Paper: arXiv:2410.04350; rank and threshold: the authors' code; the limits of clamp are from memory, unverified
    """

    knows_prompt = False

    rescale: Literal["mean1", "sum1", "raw", "max1"] = "raw"
    """Final scale of each response; the method's weights are absolute, so they are kept by default."""

    contrast: ContrastSlot = Field(default_factory=lambda: contrasts.build("dpo", {}))
    """The two models."""

    transform: Literal["rank", "clamp", "threshold"] = "rank"
    """From log-ratio to weight; rank is what the authors' instructions use, clamp the paper's form."""

    limits: Annotated[tuple[float, float], Field(strict=False)] | None = None
    """Lowest and highest log-ratio, nats, of clamp and threshold; null means -0.5, 1.5 and -1.5, 1.5."""

    scale: Annotated[tuple[float, float], Field(strict=False)] | None = None
    """Lowest and highest weight of rank and threshold; dimensionless. Null means 0.7, 1.3."""

    weigh_last: bool = False
    """Weigh the last token too; it is EOS unless the response was cut, and the authors' code gives EOS 0."""

    @model_validator(mode="after")
    def _each_option_has_a_use(self) -> Self:
        for key, useless in (("limits", "rank"), ("scale", "clamp")):
            pair = getattr(self, key)
            if pair is None:
                continue
            if self.transform == useless:
                raise PydanticCustomError("conflict", f"'{key}' has no use with transform '{useless}'; leave it out")
            if not pair[0] < pair[1] or (key == "scale" and pair[0] < 0):
                least = "0 <= low < high" if key == "scale" else "low < high"
                raise PydanticCustomError("range", f"{key}: expected [low, high] with {least}, got {list(pair)}")
        return self

    @property
    def _values(self) -> LogRatio:
        return LogRatio(contrast=self.contrast)

    def needs(self) -> Needs:
        return Needs(values=frozenset({self._values}))

    def raw(self, span: Span) -> Tensor:
        assert span.desirable_B is not None, "the step knows which response is which"
        ratio_BS = span.values[self._values]
        sign_B1 = torch.where(span.desirable_B, 1.0, -1.0)[:, None]
        weight_BS = self._weights(ratio_BS, sign_B1, span)
        if self.weigh_last:
            return weight_BS
        last_B1 = (span.length_B - 1)[:, None]
        return weight_BS.masked_fill(span.index_BS == last_B1, 0.0)

    def _weights(self, ratio_BS: Tensor, sign_B1: Tensor, span: Span) -> Tensor:
        if self.transform == "clamp":  # before the sign, as in the paper
            return torch.exp(sign_B1 * ratio_BS.clamp(*(self.limits or LIMITS["clamp"])))
        gain_BS = sign_B1 * ratio_BS
        if self.transform == "rank":
            most_B1 = (span.length_B - 1)[:, None]
            # Of a single token the rank says nothing: the middle of the scale.
            share_BS = torch.where(most_B1 > 0, average_ranks(gain_BS, span.mask_BS) / most_B1.clamp_min(1), 0.5)
        else:
            low, high = self.limits or LIMITS["threshold"]
            share_BS = (gain_BS.clamp(low, high) - low) / (high - low)
        lowest, highest = self.scale or SCALE
        return (lowest + (highest - lowest) * share_BS).to(ratio_BS.dtype)
