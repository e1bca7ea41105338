"""The demo, whole: TI-DPO learns what the world's preference is about, whatever the seed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from alignkit.recipe.load import load_recipe
from alignkit.run import run

RECIPE = Path(__file__).parents[1] / "recipes" / "tidpo.yaml"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_true_reward_rises(seed: int, tmp_path: Path):
    """By more than four standard errors of the difference, and without leaving the reference by 1 nat."""
    path = run(load_recipe(RECIPE, [f"seed={seed}"]), tmp_path / "run", False, False).folder
    assert path is not None
    recorded = json.loads((path / "eval.json").read_text())
    before, after = recorded["before"], recorded["after"]
    assert 0.4 < before["true_reward"] < 0.6
    error = math.hypot(before["true_reward_se"], after["true_reward_se"])
    assert after["true_reward"] - before["true_reward"] > 4 * error
    assert 0.1 < after["kl"] < 1.0
    assert after["preference_accuracy"] > 0.95
