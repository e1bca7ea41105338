"""The true reward of the built-in world, and that it says nothing of other data."""

from __future__ import annotations

import numpy as np

from alignkit.rewards.base import Sample
from alignkit.rewards.world import TrueReward
from alignkit.world.text import ADVICE, CARRIERS, PROBLEMS


def test_a_prompt_of_other_data_has_no_score() -> None:
    """It would otherwise be 0 for every response, and a run on other data train nothing from beginning to end."""
    problem = PROBLEMS[0]
    said = [f"{CARRIERS[0]} {ADVICE[problem]}.", "No idea."]
    asked = [f"My fig has {problem}. What should I do?", "What is 2 plus 2?"]
    samples = [Sample(prompt, response, np.zeros(1, np.int32), True, {}) for prompt in asked for response in said]
    assert TrueReward(name="world").score(samples) == [1.0, 0.0, None, None]
