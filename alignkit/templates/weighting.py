"""Which tokens of a response count, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting

if TYPE_CHECKING:
    from torch import Tensor


class Template(TokenWeighting):
    """More weight on the first tokens of each response.

    Formula: W_t = `factor` if t < `count`, else 1
    """

    count: int = Field(8, gt=0)
    """Tokens that count more; usual 4 to 32."""

    factor: float = Field(2.0, ge=0)
    """Weight of each of them before rescaling; dimensionless."""

    def raw(self, span: Span) -> Tensor:
        is_first_BS = (span.index_BS < self.count).float()
        return 1 + (self.factor - 1) * is_first_BS
