"""alignkit's own training, with the loop, the optimizer and the checks of a run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import transformers

from alignkit.asks.reference_logps import ReferenceLogps
from alignkit.asks.table import Table
from alignkit.data.rows import TokenRow
from alignkit.determinism import deterministic
from alignkit.engine.objective import ObjectiveStep
from alignkit.engine.rollouts import Rollouts
from alignkit.engine.scoring import Scoring
from alignkit.loop.accelerator import make_accelerator
from alignkit.loop.loop import train
from alignkit.models.base import LoRA, ModelSource
from alignkit.models.policy import Policy, build_policy
from alignkit.models.reference import Reference
from alignkit.models.scorer import Want
from alignkit.recipe.recipe import Recipe
from alignkit.rewards.judge import Judge
from pricing.job import GROUP, ORDER_SEED, Job, Row
from pricing.models import load
from pricing.plain import BETA
from pricing.turns import Turns

HYBRID = {"name": "hybrid"}
TRIPLET = {"name": "triplet", "coefficient": 0.1, "margin": 0.01, "anchor": {"name": "sample_prompt"}}
METHODS: dict[str, dict[str, Any]] = {
    "dpo": {"losses": [{"name": "dpo", "beta": BETA}]},
    "tidpo weights": {"losses": [{"name": "weighted_dpo", "beta": BETA}], "weighting": HYBRID},
    "tidpo": {"losses": [{"name": "weighted_dpo", "beta": BETA}, TRIPLET], "weighting": HYBRID},
    "grpo": {
        "trainer": {"name": "on_policy", "samples_every": None},
        "rewards": [{"name": "repetition"}],  # its numbers are those of `reward`
        "advantage": {"name": "group"},
        "losses": [{"name": "policy_gradient", "average": "examples"}],
    },
}
"""Sections of a recipe: DPO; the token weights of TI-DPO; all of TI-DPO (recipes/hh/tidpo.yaml); GRPO without KL."""


class Timed(ObjectiveStep):
    """Notes what drawing anchors takes."""

    turns: Turns

    def prepare(self, *args: Any) -> None:
        began = self.turns.now()
        super().prepare(*args)
        self.turns.drawing = self.turns.now() - began


def run(job: Job, turns: Turns, method: str, *, any_order: bool = False) -> None:
    """Trains for as long as there are turns."""
    recipe, folder = recipe_of(job, method), Path(tempfile.mkdtemp(dir=job.folder))
    accelerator = make_accelerator(recipe.training, folder)
    rows = [token_row(row, recipe.method().drawing is not None) for row in job.rows]
    step = step_of(job, recipe, rows, accelerator.autocast)
    step.turns = turns
    with deterministic(not any_order):
        train(
            step,
            rows,
            recipe.training,
            seed=ORDER_SEED,
            folder=folder,
            accelerator=accelerator,
            fingerprint={},
            on_log=lambda done, line: turns.done(line["loss"]),
            on_start=lambda done: turns.ready(),
        )


def step_of(job: Job, recipe: Recipe, rows: list[TokenRow], autocast: Any) -> Timed:
    """The step of a run, with the reference log-probs at hand where it needs them."""
    method, policy = recipe.method(), prepared(job, "policy")
    if method.drawing is not None:
        found = Scoring(method, policy, None, {}, autocast)
        judge = cast("Judge", lambda samples: [[reward(one.response_ids) for one in samples]])
        return Timed(found, recipe.sizes(), Rollouts(found, recipe.sizes(), rows, judge))
    needs_live = method.needs.anchor is not None
    live = reference_of(job, policy) if job.is_real or needs_live else None
    tables = {ReferenceLogps(): reference_table(policy, live if job.is_real else None, rows)}
    return Timed(Scoring(method, policy, live if needs_live else None, tables, autocast), recipe.sizes())


def recipe_of(job: Job, method: str) -> Recipe:
    """What a user would write."""
    training = {
        "steps": len(job.batches) + 100,  # so that the last window of anchors is a whole one
        "batch_size": job.pairs,
        "micro_batch_size": job.pairs * (GROUP if method == "grpo" else 1),
        "learning_rate": 1e-6,
        "schedule": "constant",
        "warmup": 0.0,
        "save_every": None,
        "precision": "fp32" if job.device == "cpu" else "bf16",
    }
    sections = {"model": {"name": "scratch"}, "data": {"train": "given"}, "trainer": {"name": "preference"}}
    sampler = {"name": "generate", "responses": GROUP, "max_new_tokens": job.longest}
    sampling = {"sampler": sampler} if method == "grpo" else {}
    return Recipe.model_validate(sections | {"training": training} | METHODS[method] | sampling)


def reward(ids: Sequence[int]) -> float:
    """A number that costs nothing and differs within a group."""
    return float(sum(ids) % 97) / 97


def token_row(row: Row, is_prompt: bool) -> TokenRow:
    """As the data pipeline gives it; of prompts alone where responses are sampled."""
    ids = {name: np.array(row[name], dtype=np.int32) for name in ("prompt", "chosen", "rejected")}
    return TokenRow(row["index"], row["where"], ids.pop("prompt"), {} if is_prompt else ids)


class Made(ModelSource):
    """The job's model, made ready as any other."""

    job: Any
    which: str

    def load_tokenizer(self, texts: Iterable[str]) -> Any:
        return transformers.AutoTokenizer.from_pretrained(self.job.folder / "policy")

    def load_model(self, tokenizer: Any, seed: int) -> Any:
        return load(self.job, self.which).eval()


def prepared(job: Job, which: str) -> Policy:
    """One of the job's models, ready for training."""
    adapter = {"adapter": LoRA()} if job.lora else {}
    source = Made(name="made", job=job, which=which, gradient_checkpointing=job.recomputes, **adapter)
    return build_policy(source, source.load_tokenizer(()), seed=0, separate=False, device=torch.device(job.device))


def reference_of(job: Job, policy: Policy) -> Reference:
    """The policy without its adapter, or a model of its own."""
    if job.lora:
        return Reference(policy.scorer, policy)
    return Reference(prepared(job, "reference").scorer.requires_grad_(False))


def reference_table(policy: Policy, reference: Reference | None, rows: list[TokenRow]) -> Table:
    """Log-probs of the reference, as a run finds them in its cache; made up where none is asked."""
    if reference is None:
        return Table({row.key: torch.full((sum(map(len, row.responses.values())),), -8.0) for row in rows})
    logps = {}
    for row in rows:
        batch = policy.batch([row])
        logps[row.key] = reference.score(batch, Want()).logp_BRT[batch.mask_BRT]
    return Table(logps)
