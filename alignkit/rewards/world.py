"""The true reward of the built-in world."""

from __future__ import annotations

from collections.abc import Sequence

from alignkit.rewards.base import Reward, Sample
from alignkit.world import reward
from alignkit.world.text import problem_of


class TrueReward(Reward):
    """1 where a response to a question of the built-in world is well formed and advises rightly, else 0.

    What is right is known there, and a prompt of other data gives no score; elsewhere learned and rule-based rewards
    stand for it.
    """

    def score(self, samples: Sequence[Sample]) -> Sequence[float | None]:
        return [None if problem_of(one.prompt) is None else reward(one.prompt, one.response) for one in samples]
