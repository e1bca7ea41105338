"""Everything that samples composes: advantages, forms of the policy gradient, pair losses, rewards and samplers train
two steps with finite loss and gradient, or are refused with a sentence. Weightings are in test_matrix.py.

In the default run each advantage meets GRPO's form and each form GRPO's advantage; the rest of the product is slow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from engine_toy import llama
from rollout_toy import large, prompts, step_of, trained_on
from test_matrix import LOSSES, fits, name_of
from vllm_stand_in import serving

from alignkit.advantages import advantages
from alignkit.errors import RecipeError
from alignkit.losses import losses
from alignkit.recipe.load import load_recipe
from alignkit.rewards import rewards
from alignkit.rewards.base import Sample
from alignkit.rewards.judge import Judge
from alignkit.rewards.permission import granting
from alignkit.rollouts import samplers

RECIPE = """
model: {name: scratch, max_positions: 64}
data: {train: "builtin:world", max_length: 64}
rewards: [world]
sampler: {name: generate, responses: 3, max_new_tokens: 4}
advantage: group
losses: [policy_gradient]
trainer: on_policy
training: {batch_size: 2, micro_batch_size: 4, learning_rate: 0.001}
"""
ONLINE = ("trainer=online_preference", "advantage=null", "losses=[dpo]")

ADVANTAGES = {
    **{name: f"{{name: {name}}}" for name in advantages.names()},
    "leave_one_out": "{name: group, baseline: leave_one_out, scale: none}",
    "batch_std": "{name: group, scale: batch_std}",
    "group_mean": "{name: group, scale: group_mean}",
    "no baseline": "{name: group, baseline: none, scale: none}",
}
FORMS = {
    "grpo": "{average: examples, kl: {coefficient: 0.04, estimator: k3}}",
    "dapo": "{clip: [0.2, 0.28], dual_clip: 3.0}",
    "dr_grpo": "{average: constant}",
    "gspo": "{ratio: sequence, average: examples}",
    "gspo token": "{ratio: sequence_token, average: examples, kl: {coefficient: 0.04}}",
    "rloo": "{ratio: sequence_sum, average: examples, clip: null, kl: {coefficient: 0.05, estimator: k1_in_reward}}",
    "cispo": "{surrogate: cispo, clip: [1.0, 4.0], kl: {coefficient: 0.04, estimator: k3_corrected}}",
    "positive": "{apply_weights_to: positive}",
}


def outcome(folder: Path, *overrides: str, sampler: Any = None) -> str | list[tuple[float, float]]:
    """What refused the recipe, or loss and gradient norm of two steps."""
    (folder / "recipe.yaml").write_text(RECIPE)
    try:
        of = load_recipe(folder / "recipe.yaml", overrides).recipe
    except RecipeError as error:
        return str(error)
    layout = "separate" if of.needs().full_sequence else "packed"
    step = step_of(of, large, every=prompts(2), sampler=sampler, layout=layout)
    optimizer = torch.optim.SGD(step.module.parameters(), lr=1e-3)
    found = []
    for number in range(2):
        rows = step.draw(number, prompts(2)).rows
        loss, gradients = trained_on(step, number, rows)
        found.append((loss, math.sqrt(sum(float(part.square().sum()) for part in gradients.values()))))
        for name, parameter in step.module.named_parameters():
            parameter.grad = gradients.get(name)
        optimizer.step()
        optimizer.zero_grad()
    return found


def trains(found: str | list[tuple[float, float]]) -> bool:
    """Two steps were trained, rightly; or nothing was, for a reason that is given."""
    if isinstance(found, str):
        assert found.count("\n") == 0 and " of each row of the data, and trainer " in found, found
        return False
    assert len(found) == 2
    assert all(math.isfinite(loss) and math.isfinite(norm) and norm > 0 for loss, norm in found), found
    return True


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads cost more than they bring on a model of 16 dimensions."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("advantage", "form"),
    [
        pytest.param(advantage, form, marks=[] if form == "grpo" or advantage == "group" else [pytest.mark.slow])
        for advantage in ADVANTAGES
        for form in FORMS
    ],
)
def test_advantage_and_policy_gradient(advantage: str, form: str, tmp_path: Path) -> None:
    loss = FORMS[form].replace("{", "{name: policy_gradient, ", 1)
    twice = () if form in ("grpo", "rloo") else ("trainer.updates_per_rollout=2",)
    weighting = "weighting=" + ("hybrid" if form in ("grpo", "gspo", "positive") else "uniform")
    assert trains(outcome(tmp_path, f"advantage={ADVANTAGES[advantage]}", f"losses=[{loss}]", weighting, *twice))


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if fits(loss, "online_preference")])
def test_pair_losses(loss: str, tmp_path: Path) -> None:
    found = outcome(tmp_path, *ONLINE, f"losses=[{LOSSES[loss]}]", "weighting=hybrid", "trainer.updates_per_rollout=2")
    first, *_ = yaml.safe_load(f"[{LOSSES[loss]}]")
    needs = losses.build(name_of(LOSSES[loss]), first).needs()
    assert trains(found) is not bool(needs.columns or needs.gold)


@pytest.mark.parametrize("name", samplers.names())
def test_samplers(name: str, tmp_path: Path) -> None:
    size = {"responses": 3, "max_new_tokens": 4}
    if name != "vllm":
        assert trains(outcome(tmp_path, sampler=samplers.build(name, size)))
        return
    with serving(llama()) as server:
        found = outcome(tmp_path, sampler=samplers.build(name, {**size, "url": server.url, "weights": str(tmp_path)}))
        assert trains(found) and len(server.bodies("/collective_rpc")) == 2


REWARDS: dict[str, dict[str, Any]] = {
    **{name: {} for name in rewards.names()},
    "constraints": {"column": "demands"},
    "length": {"max": 8, "window": 4},
    "regex": {"pattern": "4"},
}
"""Every reward by its name, with what it cannot do without; a reward model has tests of its own."""

COLUMNS = {
    "answer": "#### 4",
    "reward": 0.5,
    "test": "def check(f):\n    assert f() == 4",
    "entry_point": "four",
    "demands": {"max_words": 9},
}
RESPONSES = ("#### 4", "```python\ndef four():\n    return 4\n```")


@pytest.mark.parametrize("name", sorted(REWARDS.keys() - {"model"}))
def test_rewards_score_what_is_sampled(name: str) -> None:
    """Through the judge, with the columns that each asks for."""
    reward = rewards.build(name, REWARDS[name])
    assert reward.columns() <= COLUMNS.keys()
    ids = np.array([4, 8, 40], np.int32)
    prompt = "What helps a fern that has slugs?" if name == "world" else "What is 2 + 2?"  # of its own prompts alone
    samples = [Sample(prompt, text, ids, True, COLUMNS) for text in RESPONSES]
    with granting("sandbox"), Judge([reward], workers=1) as judge:
        (found,) = judge(samples)
    assert all(score is not None and math.isfinite(score) for score in found)
    assert name not in ("code", "answer") or sorted(found) == [0.0, 1.0]
