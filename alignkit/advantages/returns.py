"""REINFORCE++ (Hu 2025, arXiv:2501.03262): what is still to come of reward and penalty, over the whole step's tokens.

There is no critic, and by default no comparison within a group, so one response per prompt is enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from alignkit.advantages.base import Advantage, Groups
from alignkit.advantages.group import mean
from alignkit.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


class Returns(Advantage):
    """Discounted sum of what follows a token, whitened over all tokens of the step.

    A token's reward is what the penalty takes off there, the last one's the response's reward beside it.

    Formula: (G_t - mean) / std, G_t = r_t + gamma G_t+1; mean and std over all tokens of the step's responses
    Paper: arXiv:2501.03262
    """

    gamma: float = Field(1.0, gt=0, le=1)
    """Discount per token; dimensionless. 1 gives all tokens the whole reward."""

    baseline: Literal["none", "group_mean"] = "none"
    """What is taken off a response's reward first; the group's mean is OpenRLHF's `reinforce_baseline`."""

    whiten: Literal["batch", "none"] = "batch"
    """Whether returns are brought to mean 0 and variance 1 over all tokens of the step."""

    correction: Literal["population", "bessel"] = "population"
    """Whether the variance of n tokens is the squares' sum over n (OpenRLHF) or n - 1 (Logic-RL)."""

    epsilon: float = Field(1e-8, gt=0)
    """Least variance, on the scale of squared rewards."""

    @property
    def is_relative(self) -> bool:
        return self.baseline != "none"

    def per_token(self, groups: Groups) -> Tensor:
        scored_PG = groups.scored_PG
        if self.is_relative:
            scored_PG = scored_PG & (scored_PG.sum(-1, keepdim=True) > 1)
        kept_PGT = groups.mask_PGT & scored_PG[:, :, None]
        returns_PGT = self._returns(self._token_rewards(groups), kept_PGT)
        return (self._white(returns_PGT, kept_PGT) if self.whiten == "batch" else returns_PGT).where(kept_PGT, 0.0)

    def _token_rewards(self, groups: Groups) -> Tensor:
        """[P, G, T] the response's reward at its last token, less the penalty at each."""
        rewards_PG = groups.rewards_PG
        if self.is_relative:
            rewards_PG = rewards_PG - mean(rewards_PG, groups.scored_PG)
        mask_PGT = groups.mask_PGT
        is_last_PGT = mask_PGT & (mask_PGT.cumsum(-1) == mask_PGT.sum(-1, keepdim=True))
        terminal_PGT = rewards_PG[:, :, None] * is_last_PGT
        return terminal_PGT if groups.penalty_PGT is None else terminal_PGT - groups.penalty_PGT

    def _returns(self, rewards_PGT: Tensor, kept_PGT: Tensor) -> Tensor:
        returns_PGT = torch.zeros_like(rewards_PGT)
        coming_PG = returns_PGT[:, :, 0]
        for t in reversed(range(rewards_PGT.shape[-1])):
            coming_PG = torch.where(kept_PGT[:, :, t], rewards_PGT[:, :, t] + self.gamma * coming_PG, coming_PG)
            returns_PGT[:, :, t] = coming_PG
        return returns_PGT

    def _white(self, returns_PGT: Tensor, kept_PGT: Tensor) -> Tensor:
        centred_PGT = returns_PGT - mean(returns_PGT.flatten(), kept_PGT.flatten())
        num_tokens = kept_PGT.sum() - int(self.correction == "bessel")
        variance = centred_PGT.square().where(kept_PGT, 0.0).sum() / num_tokens.clamp_min(1)
        return centred_PGT * variance.clamp_min(self.epsilon).rsqrt()
