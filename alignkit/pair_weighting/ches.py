"""Pairs by CHES, the centered hidden embedding similarity (arXiv:2410.08847): alike ones count less.

Where the model represents both responses alike, pushing the rejected one away takes the chosen one along. Leaving those
pairs out is the paper's remedy. The score is not symmetric in the two responses, and of sums it measures length first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from alignkit.asks.ches import Ches
from alignkit.asks.needs import Needs
from alignkit.lazy import torch
from alignkit.pair_weighting.base import PairWeighting
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class CHES(PairWeighting):
    """Weight 1 for the pairs with the lowest CHES of the training set, 0 for the others; or one that falls with rank.

    The score is that of the reference, so weights are known before training. A pair of weight 0 is counted in a step's
    mean all the same: what is kept acts like a smaller batch.

    Formula: 1 if r < keep, else 0; with `tau` instead exp(-r / tau); r the share of the training pairs that have less
        of <H_w, H_l> - |H_w|^2, H the sum (`normalised`: mean) of the last hidden states that predict a response
    Paper: arXiv:2410.08847
    """

    keep: float = Field(0.95, gt=0, le=1)
    """Share of the training pairs that weigh 1, those with the lowest score; usual 0.5 to 0.95, and 1 keeps all."""

    tau: float | None = Field(None, gt=0)
    """Share of the training pairs, from the lowest score on, over which the weight falls by e; instead of `keep`."""

    normalised: bool = False
    """Means of the hidden states in the place of sums, so that long responses do not lead."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.tau is not None:
            self.refuse_unused(["keep"], "'tau'")
        return self

    @property
    def _values(self) -> Ches:
        return Ches(normalised=self.normalised)

    def needs(self) -> Needs:
        return Needs(row_values=frozenset({self._values}))

    def per_pair(self, scores: PairScores) -> Tensor:
        share_B = scores.columns[self._values]
        if self.tau is not None:
            return torch.exp(-share_B / self.tau)
        return (share_B < self.keep).to(share_B.dtype)
