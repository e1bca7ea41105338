"""Prompts, rewards by rule and a toy llama for the tests of on-policy training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from engine_toy import gradients, llama, move, rows, scoring

from alignkit.data.rows import TokenRow
from alignkit.engine.method import Method, Sizes
from alignkit.engine.objective import ObjectiveStep
from alignkit.engine.rollouts import Rollouts
from alignkit.recipe.recipe import Recipe
from alignkit.rewards.base import Reward, Sample
from alignkit.rewards.judge import Judge
from alignkit.rollouts.groups import Sampler

Rule = Callable[[Sample], float | None]

POLICY_GRADIENT = {"name": "policy_gradient"}
SAMPLER = {"name": "generate", "responses": 4, "max_new_tokens": 6}


class ByRule(Reward):
    """What a function of the test says."""

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [RULES[self.title](sample) for sample in samples]


RULES: dict[str, Rule] = {}


def large(sample: Sample) -> float:
    """The mean token id: no two responses have the same."""
    return float(sample.response_ids.mean()) / 40


def prompts(number: int = 6) -> list[TokenRow]:
    """Prompts of 2 to 5 tokens, without responses."""
    found = rows([(2 + index % 4, 1, 1) for index in range(number)])
    return [replace(row, responses={}, text={"prompt": f"Q{row.index}"}) for row in found]


def recipe_of(name: str, losses: Sequence[dict], **sections: Any) -> Recipe:
    """A recipe of a trainer that samples; `trained` puts rules in the place of its reward.

    Args:
        name: of the trainer.
        losses: as in a recipe.
        sections: the others; those of `sampler` and `trainer` are added to the defaults.
    """
    sampler = SAMPLER | sections.pop("sampler", {})
    named = {"name": name} | sections.pop("trainer", {})
    given = {"model": {"name": "scratch"}, "data": {"train": "toy.jsonl"}, "training": {"micro_batch_size": 3}}
    parts = {"losses": [dict(loss) for loss in losses], "trainer": named, "sampler": sampler}
    return Recipe.model_validate(given | parts | {"rewards": [{"name": "world"}]} | sections)


def on_policy(losses: Sequence[dict] = (POLICY_GRADIENT,), **sections: Any) -> Recipe:
    """A recipe of the trainer on_policy, by default GRPO's."""
    return recipe_of("on_policy", losses, **{"advantage": {"name": "group"}} | sections)


def online(losses: Sequence[dict], **sections: Any) -> Recipe:
    """A recipe of the trainer online_preference."""
    return recipe_of("online_preference", losses, **sections)


def with_rules(of: Recipe, rules: Sequence[Reward], sampler: Sampler | None) -> Method:
    method = of.method()
    assert method.drawing is not None
    drawing = replace(method.drawing, rewards=tuple(rules), sampler=sampler or method.drawing.sampler)
    return replace(method, drawing=drawing)


def step_of(
    of: Recipe,
    *rules: Rule,
    model: Any = None,
    every: Sequence[TokenRow] | None = None,
    folder: Path | None = None,
    sampler: Sampler | None = None,
    weights: Sequence[float] = (1.0, 1.0, 1.0),
    **how: Any,
) -> ObjectiveStep:
    """The training step of a recipe on a toy llama that has moved from its reference.

    Args:
        of: the recipe.
        rules: what its rewards say, in their order, called `rule0` and so on; by default `large`.
        model: the policy.
        every: all prompts, from which others are drawn.
        folder: of the run.
        sampler: in the place of the recipe's.
        weights: factors of the rewards.
        how: goes to `scoring`.
    """
    RULES.update({f"rule{n}": rule for n, rule in enumerate(rules or (large,))})
    rewards = [ByRule(name="rule", label=f"rule{n}", weight=weights[n]) for n in range(len(rules or (large,)))]
    reference = llama() if of.needs().reference else None
    found = scoring(of, model or move(llama(), seed=7), reference, layout=how.pop("layout", "separate"), **how)
    found.method = with_rules(of, rewards, sampler)
    sizes: Sizes = of.sizes()
    return ObjectiveStep(found, sizes, Rollouts(found, sizes, every or prompts(), Judge(rewards), folder))


def trained_on(step: ObjectiveStep, number: int, drawn: Sequence[TokenRow]) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of an optimizer step on these rows, in the recipe's micro-batches."""
    step.prepare(number, drawn, {number: drawn})
    totals, size = step.totals(drawn), step.sizes.micro_batch
    total = 0.0
    for start in range(0, len(drawn), size):
        loss, _ = step.loss(drawn[start : start + size], number, totals)
        loss.backward()
        total += loss.item()
    return total, gradients(step.module)


def same_rows(one: Sequence[TokenRow], other: Sequence[TokenRow]) -> bool:
    """Whether rows are equal bit for bit."""
    return list(map(plain, one)) == list(map(plain, other))


def plain(row: TokenRow) -> dict[str, Any]:
    """All of a row that training can see, comparable."""
    return {
        "index": row.index,
        "where": row.where,
        "label": row.label,
        "text": dict(row.text),
        "prompt": row.prompt.tolist(),
        "responses": {name: ids.tolist() for name, ids in row.responses.items()},
        "tokens": {
            key: {name: value_T.tolist() for name, value_T in named.items()} for key, named in row.token_columns.items()
        },
    }
