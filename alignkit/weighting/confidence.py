"""Tokens of which the policy is less sure than of its response's others count alone: ConfPO (Yoon et al. 2025).

It needs nothing but the log-probs that are there anyway. The choice follows the policy, so it moves while that learns,
and an error of which the policy is sure is never chosen. `soft` is the opposite: surer tokens count more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from alignkit.lazy import torch
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting

if TYPE_CHECKING:
    from torch import Tensor

STRICT = 1 - 1e-6
"""Share of the mean below which a probability is smaller than it: what rounding explains is not."""


class Confidence(TokenWeighting):
    """Equal weights on tokens less likely than the response's mean probability, 0 on others; or the probability itself.

    Weights of a choice have mean 1 already, so a loss of means is that of the chosen tokens' mean. Of a response whose
    tokens are all as likely, such as one of a single token, none is chosen, and it contributes nothing.

    Formula: T / k on the k tokens with p_t < mean_t p, 0 elsewhere, p the policy's probabilities; soft: soft * p_t +
        1 - soft; then `rescale`, which leaves them as they are by default
    Paper: ConfPO (ICML 2025), with loss `simpo`; soft: arXiv:2505.12929
    """

    knows_prompt = False

    rescale: Literal["mean1", "sum1", "raw", "max1"] = "raw"
    """Final scale of each response; with any but `raw` one of which no token is chosen gets equal weights instead."""

    soft: float | None = Field(None, ge=0, le=1)
    """Share of the weight that follows the probability, in the place of a choice; usual 0.2 to 0.3. At 1 the weight is
    the probability, and rare tokens hardly learn."""

    def raw(self, span: Span) -> Tensor:
        assert span.policy_BS is not None, "the step always has the policy's log-probs"
        p_BS = span.policy_BS.exp().masked_fill(~span.mask_BS, 0.0)
        if self.soft is not None:
            return self.soft * p_BS + (1 - self.soft)
        length_B1 = span.length_B[:, None].clamp_min(1)
        chosen_BS = (p_BS < STRICT * p_BS.sum(-1, keepdim=True) / length_B1) & span.mask_BS
        return torch.where(chosen_BS, length_B1 / chosen_BS.sum(-1, keepdim=True).clamp_min(1), 0.0).to(p_BS.dtype)
