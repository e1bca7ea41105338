"""Every response token counts the same: plain DPO, IPO, SimPO, ... The ablation row "uniform weight" of TI-DPO."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignkit.lazy import torch
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting

if TYPE_CHECKING:
    from torch import Tensor


class Uniform(TokenWeighting):
    """Weight 1 for every token.

    Formula: W_t = 1
    Paper: arXiv:2505.19653 Table 2
    """

    @property
    def is_neutral(self) -> bool:
        return self.rescale != "sum1" and self.clip is None

    def raw(self, span: Span) -> Tensor:
        return span.mask_BS.to(torch.float32)
