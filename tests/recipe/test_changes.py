"""What a resumed run may change."""

from __future__ import annotations

import pytest

from alignkit.recipe.changes import may_change

FREE = ["rewards.0.timeout", "stages.grpo.rewards.12.abstains", "sampler.url", "trainer.samples_every"]
FIXED = [
    "rewards.0.weight",
    "rewards.0.timeout.x",
    "rewards.timeout",
    "sampler.temperature",
    "trainer.updates_per_rollout",
]


@pytest.mark.parametrize("key", [*FREE, "training.save_every", "evaluation.samples", "stages.sft.training.steps"])
def test_what_decides_no_update_may_change(key: str) -> None:
    assert may_change(key)


@pytest.mark.parametrize("key", [*FIXED, "training.batch_size", "data.train", "stages.sft.losses.0.beta"])
def test_what_decides_updates_may_not(key: str) -> None:
    assert not may_change(key)
