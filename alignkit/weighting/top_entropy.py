"""Only the tokens at which the policy is most undecided count: 80/20 (Wang et al. 2025, arXiv:2506.01939).

The paper leaves the others out of the sum and divides by all tokens as before, which `rescale: raw` does; the default
gives the response its whole weight back, so that the learning rate keeps its meaning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.lazy import torch
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting
from alignkit.weighting.entropy import ENTROPY

if TYPE_CHECKING:
    from torch import Tensor


class TopEntropy(TokenWeighting):
    """1 for the tokens with the highest entropy of the policy, 0 for the others.

    The nearest whole number of a response's tokens, at least one, and what ties with the last of them.

    Formula: 1[H_t >= the (fraction * T)-th largest of the response], H entropy of the policy
    Paper: arXiv:2506.01939, whose threshold is the batch's instead of the response's
    """

    knows_prompt = False

    fraction: float = Field(0.2, gt=0, le=1)
    """Share of a response's tokens that count; usual 0.2."""

    def needs(self) -> Needs:
        return Needs(statistics=frozenset({ENTROPY}))

    def raw(self, span: Span) -> Tensor:
        entropy_BS = span.statistics[ENTROPY].masked_fill(~span.mask_BS, -torch.inf)
        count_B1 = (self.fraction * span.length_B[:, None]).round().long().clamp_min(1)
        least_B1 = entropy_BS.sort(-1, descending=True).values.gather(-1, count_B1 - 1)
        return (entropy_BS >= least_B1).to(span.statistics[ENTROPY].dtype)
