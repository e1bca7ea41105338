"""Advantages relative to the group: a response is good where it is better than others to the same prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from alignkit.advantages.base import Advantage, Groups
from alignkit.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


class GroupRelative(Advantage):
    """A response's reward less the group's baseline, in units of how rewards differ; the same for all its tokens.

    The defaults are GRPO's; `scale: none` is Dr. GRPO's, with `baseline: leave_one_out` RLOO's, and `scale: group_mean`
    MaxRL's. Responses without a reward get 0 and count for nothing; so do groups with fewer than two rewards.

    Formula: (r - baseline) / (std + epsilon), std over G - 1; `group_mean`: (r - baseline) / mean
    Paper: arXiv:2402.03300; `scale: none`: arXiv:2503.20783; `leave_one_out`: arXiv:2402.14740
    """

    baseline: Literal["mean", "leave_one_out", "none"] = "mean"
    """What a reward is compared with: the group's mean, the mean of its other responses, or nothing."""

    scale: Literal["group_std", "batch_std", "group_mean", "none"] = "group_std"
    """What the difference is divided by: the standard deviation of the group's rewards or of all the step's, or the
    group's mean, which is for rewards >= 0 (a group whose mean is at most `epsilon` gets 0)."""

    epsilon: float = Field(1e-4, gt=0)
    """Added to the standard deviation, on the scale of rewards; usual 1e-6 to 1e-4."""

    @model_validator(mode="after")
    def _scale_fits(self) -> Self:
        if self.baseline == "none" and self.scale == "group_std":
            raise PydanticCustomError(
                "scale",
                "scale 'group_std' divides by nearly 0 where rewards of a group are equal, and with baseline 'none' "
                "they are not 0 there; use batch_std or none",
            )
        return self

    @property
    def is_relative(self) -> bool:
        return self.baseline != "none"

    def per_token(self, groups: Groups) -> Tensor:
        rewards_PG, scored_PG = groups.penalised_PG, groups.scored_PG
        centred_PG = rewards_PG - self._baseline_PG(rewards_PG, scored_PG)
        advantage_PG = self._scaled(centred_PG, rewards_PG, scored_PG).where(scored_PG, 0.0)
        if self.is_relative:
            advantage_PG = advantage_PG.where(scored_PG.sum(-1, keepdim=True) > 1, 0.0)
        return advantage_PG[:, :, None] * groups.mask_PGT

    def _baseline_PG(self, rewards_PG: Tensor, scored_PG: Tensor) -> Tensor:
        if self.baseline == "none":
            return torch.zeros_like(rewards_PG)
        if self.baseline == "mean":
            return mean(rewards_PG, scored_PG).expand_as(rewards_PG)
        others_P1 = (scored_PG.sum(-1, keepdim=True) - 1).clamp_min(1)
        return (rewards_PG.sum(-1, keepdim=True) - rewards_PG) / others_P1

    def _scaled(self, centred_PG: Tensor, rewards_PG: Tensor, scored_PG: Tensor) -> Tensor:
        if self.scale == "none":
            return centred_PG
        if self.scale == "group_mean":
            mean_P1 = mean(rewards_PG, scored_PG)
            return torch.where(mean_P1 > self.epsilon, centred_PG / mean_P1.clamp_min(self.epsilon), 0.0)
        if self.scale == "group_std":
            return centred_PG / (_std(rewards_PG, scored_PG) + self.epsilon)
        return centred_PG / (_std(rewards_PG.flatten(), scored_PG.flatten()) + self.epsilon)


def mean(values: Tensor, kept: Tensor) -> Tensor:
    """[..., 1] mean over the last dimension of what is kept; 0 where nothing is."""
    return values.where(kept, 0.0).sum(-1, keepdim=True) / kept.sum(-1, keepdim=True).clamp_min(1)


def _std(values: Tensor, kept: Tensor) -> Tensor:
    """[..., 1] standard deviation over the last dimension of what is kept, over n - 1; 0 for fewer than two."""
    squares = (values - mean(values, kept)).square().where(kept, 0.0).sum(-1, keepdim=True)
    return (squares / (kept.sum(-1, keepdim=True) - 1).clamp_min(1)).sqrt()
