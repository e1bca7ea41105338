"""Later tokens count less: D2PO (arXiv:2502.14340), a temporal decay.

The sum of a response's weights never exceeds gamma / (1 - gamma), 49 at 0.98, so the effective beta falls with length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from alignkit.lazy import torch
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting

if TYPE_CHECKING:
    from torch import Tensor


class Decay(TokenWeighting):
    """Weight that falls geometrically with the token's position.

    Formula: gamma^t, t = 1 .. T; then `rescale`, which leaves them as they are by default
    Paper: arXiv:2502.14340; gamma and the first exponent are those of the authors' code
    """

    knows_prompt = False

    rescale: Literal["mean1", "sum1", "raw", "max1"] = "raw"
    """Final scale of each response; the method's weights are absolute, so they are kept by default."""

    gamma: float = Field(0.98, gt=0, le=1)
    """Weight of a token over that of the one before it; usual 0.98; 1 leaves DPO."""

    def raw(self, span: Span) -> Tensor:
        return torch.pow(self.gamma, span.index_BS + 1.0)
