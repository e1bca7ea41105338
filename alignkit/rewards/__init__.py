"""Rewards: how good a sampled response is."""

from __future__ import annotations

from typing import Annotated

from alignkit.registry import Registry
from alignkit.rewards.base import Reward

rewards: Registry[Reward] = Registry(
    "reward",
    Reward,
    {
        "answer": "alignkit.rewards.answer:Answer",
        "code": "alignkit.rewards.code:Code",
        "column": "alignkit.rewards.column:ByColumn",
        "constraints": "alignkit.rewards.constraints:Constraints",
        "format": "alignkit.rewards.format:Format",
        "length": "alignkit.rewards.length:Length",
        "math": "alignkit.rewards.math:Math",
        "model": "alignkit.rewards.model:ByModel",
        "regex": "alignkit.rewards.regex:Regex",
        "repetition": "alignkit.rewards.repetition:Repetition",
        "world": "alignkit.rewards.world:TrueReward",
    },
)

RewardSlot = Annotated[Reward, rewards]
"""A recipe slot that holds a reward."""
