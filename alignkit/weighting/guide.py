"""Tokens that a guide, a model trained beforehand, moved the right way count more: TGDPO (arXiv:2506.14574).

The guide is the positive model of a contrast, so one short training gives it. With the method's beta of 0.1 the weights
lie near 1 and the loss is nearly DPO's; where the guide learnt something spurious the weights repeat it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from alignkit.asks.needs import Needs
from alignkit.contrasts import ContrastSlot, contrasts
from alignkit.contrasts.values import GuideRatio
from alignkit.lazy import torch
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting

if TYPE_CHECKING:
    from torch import Tensor


class Guide(TokenWeighting):
    """Weight by the log-ratio of a guide to the reference, as a constant.

    In chosen responses the weight rises with the log-ratio, in rejected ones it falls. So the heaviest tokens are those
    with the largest log-ratios of a chosen and the smallest of a rejected response: what SePO selects.

    Formula: linear: 1 + alpha * beta * g_t in a chosen response, 1 - alpha * beta * g_t in a rejected one, 0 where that
        is negative; size: |g_t|; g_t = log guide(y_t | x, y_<t) - log ref(y_t | x, y_<t); then `rescale`, which leaves
        them as they are by default
    Paper: arXiv:2506.14574; size: ours
    """

    knows_prompt = False

    rescale: Literal["mean1", "sum1", "raw", "max1"] = "raw"
    """Final scale of each response; the method's weights are absolute, so they are kept by default."""

    contrast: ContrastSlot = Field(default_factory=lambda: contrasts.build("dpo", {}))
    """Its positive model is the guide; the negative one is not trained."""

    form: Literal["linear", "size"] = "linear"
    """TGDPO's weight, or the size of the log-ratio alone, which has no sign to take: a factor of a `product`."""

    alpha: float = Field(0.5, ge=0)
    """How far the weight follows the guide; dimensionless. A token weighs 0 from |g| = 1 / (alpha * beta) nats on."""

    beta: float = Field(0.1, gt=0)
    """The beta of the loss, per nat of log-ratio: give the same number here, as weightings do not see losses."""

    @model_validator(mode="after")
    def _each_option_has_a_use(self) -> Self:
        if self.form == "size":
            self.refuse_unused(["alpha", "beta"], "form 'size'")
        return self

    @property
    def _values(self) -> GuideRatio:
        return GuideRatio(contrast=self.contrast)

    def needs(self) -> Needs:
        return Needs(values=frozenset({self._values}))

    def raw(self, span: Span) -> Tensor:
        ratio_BS = span.values[self._values]
        if self.form == "size":
            return ratio_BS.abs()
        assert span.desirable_B is not None, "the step knows which response is which"
        sign_B1 = torch.where(span.desirable_B, 1.0, -1.0)[:, None]
        return (1 + self.alpha * self.beta * sign_B1 * ratio_BS).clamp_min(0)
