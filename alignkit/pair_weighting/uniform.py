"""Every pair counts the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignkit.lazy import torch
from alignkit.pair_weighting.base import PairWeighting
from alignkit.scores import PairScores

if TYPE_CHECKING:
    from torch import Tensor


class Uniform(PairWeighting):
    """Factor 1 for every pair.

    Formula: 1
    """

    is_neutral = True

    def per_pair(self, scores: PairScores) -> Tensor:
        return torch.ones_like(scores.chosen.policy_BT[:, 0], requires_grad=False)
