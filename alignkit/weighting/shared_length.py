"""Tokens beyond the other response's length count less, so that length decides less: LD-DPO and SamPO.

Of the longer response of a pair only as many tokens should matter as the shorter one has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from alignkit.asks.needs import Needs
from alignkit.asks.pairs import WithinShorter
from alignkit.lazy import torch
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting
from alignkit.weighting.random import fixed_draws

if TYPE_CHECKING:
    from torch import Tensor

WITHIN = WithinShorter()


class SharedLength(TokenWeighting):
    """Less weight on what a response has more than the other one; for pairs.

    Formula: alpha: 1 on the first l = min(T, T') tokens, `alpha` beyond them, T' tokens of the other response;
        sample: 1 on l tokens drawn at random, 0 on the others; average: l / T, what sampling gives on average; then
        `rescale`, which leaves them as they are by default
    Paper: alpha: arXiv:2409.06411; sample: arXiv:2406.10957
    """

    knows_prompt = False

    rescale: Literal["mean1", "sum1", "raw", "max1"] = "raw"
    """Final scale of each response; the method's weights are absolute, and `mean1` takes away what it is for."""

    mode: Literal["alpha", "sample", "average"] = "alpha"
    """LD-DPO; SamPO, which draws once for the whole run and both models; or SamPO without chance."""

    alpha: float = Field(0.5, ge=0, le=1)
    """Weight beyond the shorter response; 1 leaves DPO, 0 cuts the longer one; usual 0.5."""

    @model_validator(mode="after")
    def _alpha_is_used(self) -> Self:
        if self.mode != "alpha":
            self.refuse_unused(["alpha"], f"mode '{self.mode}'")
        return self

    def needs(self) -> Needs:
        return Needs(values=frozenset({WITHIN}))

    def raw(self, span: Span) -> Tensor:
        within_BS = span.values[WITHIN]
        if self.mode == "alpha":
            return self.alpha + (1 - self.alpha) * within_BS
        count_B1 = within_BS.sum(-1, keepdim=True)
        if self.mode == "average":
            return (count_B1 / span.length_B[:, None].clamp_min(1)).expand_as(within_BS)
        order_BS = fixed_draws(span, "shared_length").masked_fill(~span.mask_BS, torch.inf).argsort(dim=-1, stable=True)
        return (order_BS.argsort(dim=-1) < count_B1).to(within_BS.dtype)
