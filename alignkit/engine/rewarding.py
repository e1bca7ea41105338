"""From what rewards say of a group to one number per response, and from groups to what an advantage is given."""

from __future__ import annotations

from collections.abc import Sequence

from alignkit.advantages.base import Groups
from alignkit.lazy import torch
from alignkit.rollouts.rollout import Group

PENALTY = "penalty"
"""What a rollout calls what is taken off its reward at each token."""


def total_rewards(scores: Sequence[Sequence[float | None]], weights: Sequence[float]) -> list[float | None]:
    """The reward of each response of a group: the sum of weight x score.

    A score that the whole group lacks says nothing of that prompt and is left out. One that only some lack would pass
    for 0 there, so these have no reward.

    Args:
        scores: [G][R] what each reward says of each response.
        weights: [R] factors.
    """
    asked = [r for r in range(len(weights)) if any(row[r] is not None for row in scores)]
    totals: list[float | None] = []
    for row in scores:
        known = [weights[r] * score for r in asked if (score := row[r]) is not None]
        totals.append(sum(known) if asked and len(known) == len(asked) else None)
    return totals


def stacked(groups: Sequence[Group]) -> Groups:
    """What an advantage is given, on the CPU in float64."""
    rewards = [[one.reward for one in group.rollouts] for group in groups]
    lengths_PG = torch.tensor([[len(one.ids) for one in group.rollouts] for group in groups])
    mask_PGT = torch.arange(int(lengths_PG.max())) < lengths_PG[..., None]
    penalty_PGT = None
    if all(PENALTY in one.per_token for group in groups for one in group.rollouts):
        packed_N = torch.cat([torch.from_numpy(one.per_token[PENALTY]) for group in groups for one in group.rollouts])
        penalty_PGT = torch.zeros(mask_PGT.shape, dtype=torch.float64).masked_scatter(mask_PGT, packed_N.double())
    return Groups(
        rewards_PG=torch.tensor([[reward or 0.0 for reward in row] for row in rewards], dtype=torch.float64),
        scored_PG=torch.tensor([[reward is not None for reward in row] for row in rewards]),
        mask_PGT=mask_PGT,
        penalty_PGT=penalty_PGT,
    )
