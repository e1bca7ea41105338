"""Only the end of a response counts: where a solution states its answer."""

from __future__ import annotations

from pydantic import Field

from alignkit.lazy import torch
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting


class LastTokens(TokenWeighting):
    """Equal weights on the last `count` tokens of each response, 0 before them.

    Formula: W_t = 1 if t >= T - count, else 0
    """

    count: int = Field(16, gt=0)
    """Response tokens that count, EOS included; tokens."""

    def raw(self, span: Span) -> torch.Tensor:
        return (span.index_BS >= span.length_B[:, None] - self.count).float()
