"""alignkit's side of the comparison on responses: the engine's own way from given responses to a loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from engine_toy import gradients, scoring
from peer.our_side import MICRO_BATCH
from peer.peer_inputs import Rows, make_model, make_policy
from peer.rollout_cases import GROUP, LONGEST, RolloutCase, prompts, responses, trained
from torch import Tensor

from alignkit.data.rows import TokenRow
from alignkit.engine.objective import ObjectiveStep
from alignkit.engine.rollouts import Rollouts
from alignkit.engine.scoring import Scoring
from alignkit.models.policy import Policy
from alignkit.recipe.recipe import Recipe
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
    drawn: list[list[Any]]

    def sample(
        self, prompts: Sequence[np.ndarray], seeds: Sequence[Sequence[int]], policy: Policy, step: int
    ) -> list[list[Drawn]]:
        return [[Drawn(ids, np.zeros(len(ids), np.float32)) for ids in group] for group in self.drawn]


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


def make_step(case: RolloutCase, rows: Rows) -> ObjectiveStep:
    """The step of a case in float64, with the policy that draws."""
    of = recipe(case)
    found = scoring(of, make_policy().double(), make_model().double() if of.needs().reference else None)
    assert found.method.drawing is not None and of.sampler is not None
    sampler = Given(**of.sampler.model_dump(exclude={"name"}), drawn=responses(rows))
    found.method = replace(found.method, drawing=replace(found.method.drawing, sampler=sampler))
    judge = cast("Judge", lambda samples: [case.rewards])
    return ObjectiveStep(found, of.sizes(), Rollouts(found, of.sizes(), prompts(rows), judge))


def recipe(case: RolloutCase) -> Recipe:
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
