"""alignkit's side of the comparison on responses: the engine's own way from given responses to a loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from engine_toy import gradients, scoring
from peer.our_side import MICRO_BATCH, losses_of, training
from peer.peer_inputs import Rows, make_model, make_policy
from peer.rollout_cases import GROUP, LONGEST, NUM_PROMPTS, RolloutCase, RolloutTrajectory, prompts, responses, trained
from torch import Tensor

from alignkit.data.rows import TokenRow
from alignkit.engine.objective import ObjectiveStep
from alignkit.engine.rollouts import Rollouts
from alignkit.engine.scoring import Scoring
from alignkit.models.policy import Policy
from alignkit.recipe.recipe import Recipe
from alignkit.rewards.base import Sample
from alignkit.rewards.judge import Judge
from alignkit.rollouts.groups import Drawn, Sampler


@dataclass(frozen=True)
class OurStep:
    """One step of alignkit on responses.

    Attributes:
        loss: of the step.
        logged: metric -> mean over what it counts.
        gradients: parameter -> gradient, named as in the model itself.
        advantages: of each response that is trained on, in order.
        rows: these responses.
        scoring: what scored them.
    """

    loss: float
    logged: dict[str, float]
    gradients: dict[str, Tensor]
    advantages: list[float]
    rows: Sequence[TokenRow]
    scoring: Scoring


class Given(Sampler):
    """Draws what it is told to."""

    is_exact = False
    drawn: dict[bytes, list[Any]]

    def sample(
        self, prompts: Sequence[np.ndarray], seeds: Sequence[Sequence[int]], policy: Policy, step: int
    ) -> list[list[Drawn]]:
        return [
            [Drawn(ids, np.zeros(len(ids), np.float32)) for ids in self.drawn[prompt.tobytes()]] for prompt in prompts
        ]


def step_on_rollouts(case: RolloutCase, rows: Rows) -> OurStep:
    """The last of a case's optimizer steps, in micro-batches whose losses and gradients add up."""
    step, given = make_step(case, rows), prompts(rows)
    found = step.draw(0, given).rows
    if case.moved:
        step.scoring.policy.model.load_state_dict(trained(case.moved).state_dict())
        found = step.draw(1, given).rows
    step.prepare(case.updates - 1, found, {case.updates - 1: found})
    totals, parts, loss = step.totals(found), [], 0.0
    for start in range(0, len(found), MICRO_BATCH):
        part, metrics = step.loss(found[start : start + MICRO_BATCH], case.updates - 1, totals)
        part.backward()
        loss += part.item()
        parts.append(metrics)
    logged = {name: float(sum(m[name][0] for m in parts) / sum(m[name][1] for m in parts)) for name in parts[0]}
    advantages = [float(row.token_columns["advantage"]["completion"].mean()) for row in found]
    return OurStep(loss, logged, gradients(step.scoring.policy.model), advantages, found, step.scoring)


def trajectory_on_rollouts(one: RolloutTrajectory, rows: Rows, folder: Path) -> list[float]:
    """The loss of each optimizer step of alignkit's loop."""
    section = training(one, NUM_PROMPTS, MICRO_BATCH)
    return losses_of(make_step(one.case, rows, training=section), prompts(rows), section, folder)


def make_step(case: RolloutCase, rows: Rows, **sections: Any) -> ObjectiveStep:
    """The step of a case in float64, with the policy that draws."""
    of = recipe(case, **sections)
    found = scoring(of, make_policy().double(), make_model().double() if of.needs().reference else None)
    given, drawn = prompts(rows), responses(rows)
    assert found.method.drawing is not None and of.sampler is not None
    by_prompt = {row.prompt.tobytes(): group for row, group in zip(given, drawn, strict=True)}
    sampler = Given(**of.sampler.model_dump(exclude={"name"}), drawn=by_prompt)
    found.method = replace(found.method, drawing=replace(found.method.drawing, sampler=sampler))
    every = (ids.tobytes() for group in drawn for ids in group)
    rewards = dict(zip(every, case.rewards, strict=True))

    def judge(samples: Sequence[Sample]) -> list[list[float | None]]:
        return [[rewards[sample.response_ids.tobytes()] for sample in samples]]

    return ObjectiveStep(found, of.sizes(), Rollouts(found, of.sizes(), given, cast("Judge", judge)))


def recipe(case: RolloutCase, **sections: Any) -> Recipe:
    """What a user would write for it; the rewards are given."""
    return Recipe.model_validate(
        {
            "model": {"name": "scratch"},
            "data": {"train": "toy.jsonl"},
            "rewards": [{"name": "repetition"}],
            "sampler": {
                "name": "generate",
                "responses": GROUP,
                "max_new_tokens": LONGEST,
                "dead_groups": case.dead_groups,
            },
            "advantage": {"name": "group", **case.advantage},
            "losses": [case.loss],
            "trainer": {"name": "on_policy", "updates_per_rollout": case.updates, "samples_every": None},
            **sections,
        }
    )


@torch.no_grad()
def token_ratios(step: OurStep) -> list[tuple[Tensor, Tensor]]:
    """Of each response [T] log-ratios to the policy that drew it, and to the reference; nats."""
    found = []
    for row in step.rows:
        view = step.scoring.method.view.view(step.scoring.score([row]))
        response = view.response
        found.append(((response.policy_BT - view.old_BT)[0], response.logratio_BT[0]))
    return found
