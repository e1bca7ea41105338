"""Every method can be rehearsed whole, whatever it asks of the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignkit.plan.plan import make_plan
from alignkit.recipe.load import load_recipe

METHODS = sorted((Path(__file__).parents[2] / "recipes" / "methods").glob("*.yaml"))
SMALL = (
    *("data.world.pairs=64", "data.world.eval_pairs=16", "training.steps=2", "training.batch_size=8"),
    *("training.micro_batch_size=4", "evaluation.pairs=8", "evaluation.samples=4", "evaluation.max_new_tokens=6"),
)


@pytest.mark.slow
@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.stem)
def test_nothing_but_side_trainings_is_left_out(path):
    plan = make_plan(load_recipe(path, SMALL)).plan
    assert plan.time is not None and plan.memory.peak > plan.memory.stages["model: nothing else"]
    assert [said for said in plan.left_out if not said.endswith(", computed before training")] == []
