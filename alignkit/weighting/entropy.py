"""Tokens at which the policy is undecided count more, by a share: GTPO (Tan et al. 2025, arXiv:2508.04349).

The paper shares entropy out among the responses of a group at each position. A weighting sees one response, so here it
is shared out among the tokens of each; the mean weight is 1 either way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.lazy import torch
from alignkit.models.statistics import Entropy
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting, shares

if TYPE_CHECKING:
    from torch import Tensor

ENTROPY = Entropy()
"""Of the policy, as a constant."""


class ByEntropy(TokenWeighting):
    """Weight 1, of which a share follows the token's entropy. It is never negative and its mean is 1.

    Formula: 1 + strength * (H_t / mean_t H - 1), H entropy of the policy
    Paper: arXiv:2508.04349, within a response instead of among those of a group
    """

    knows_prompt = False

    strength: float = Field(0.1, ge=0, le=1)
    """How much of the weight follows the entropy; 0 gives equal weights, 1 weights in proportion to it; usual 0.1."""

    def needs(self) -> Needs:
        return Needs(statistics=frozenset({ENTROPY}))

    def raw(self, span: Span) -> Tensor:
        relative_BS = shares(span.statistics[ENTROPY].clamp_min(0), span.mask_BS) * span.length_B[:, None]
        is_decided_B1 = relative_BS.sum(-1, keepdim=True) == 0
        return 1 + self.strength * (torch.where(is_decided_B1, 1.0, relative_BS) - 1)
