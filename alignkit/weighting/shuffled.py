"""The control of a weighting: its own weights, permuted among the tokens of each response.

Sum, concentration and what beta means stay as they are; which token gets which weight is chance. A weighting that is
no better than its shuffled twin at equal KL does not know where the preference is decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import Field

from alignkit.asks.needs import Needs
from alignkit.lazy import torch
from alignkit.scores import Span
from alignkit.weighting.base import TokenWeighting
from alignkit.weighting.influence import Influence
from alignkit.weighting.part import Part
from alignkit.weighting.random import fixed_draws

if TYPE_CHECKING:
    from torch import Tensor

DRAWS: Final = "shuffled weights"
"""What the draws are for: others than those of `random`, or its weights would come out sorted."""


class Shuffled(TokenWeighting):
    """Another weighting's weights in a random order, fixed for each response over the whole run, EOS included.

    Formula: W_t = V_p(t); V the weights of `of`, p a permutation of the response's tokens
    Paper: none; a control, not a method
    """

    knows_prompt = False

    of: Part = Field(default_factory=lambda: Influence(name="influence"))
    """The weighting whose weights are permuted."""

    def needs(self) -> Needs:
        return self.of.needs()

    def raw(self, span: Span) -> Tensor:
        draws_BS = fixed_draws(span, DRAWS).masked_fill(~span.mask_BS, torch.inf)
        column_BS = draws_BS.argsort(dim=-1, stable=True)  # the span's tokens in the order of their draws, then padding
        permuted_BS = self.of.raw(span).gather(-1, column_BS)
        return permuted_BS.gather(-1, span.index_BS.clamp_min(0))
