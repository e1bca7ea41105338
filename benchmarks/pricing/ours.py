"""alignkit's own training, with the loop, the optimizer and the checks of a run."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alignkit.asks.reference_logps import ReferenceLogps
from alignkit.asks.table import Table
from alignkit.data.rows import TokenRow
from alignkit.determinism import deterministic
from alignkit.engine.objective import ObjectiveStep
from alignkit.engine.scoring import Scoring
from alignkit.loop.accelerator import make_accelerator
from alignkit.loop.loop import train
from alignkit.models.policy import Policy, build_policy
from alignkit.models.pretrained import Pretrained
from alignkit.models.reference import Reference
from alignkit.models.scorer import Want
from alignkit.recipe.recipe import Recipe
from pricing.job import BATCH, ORDER_SEED, Job, Row
from pricing.plain import BETA
from pricing.turns import Turns

HYBRID = {"name": "hybrid"}
TRIPLET = {"name": "triplet", "coefficient": 0.1, "margin": 0.01, "anchor": {"name": "sample_prompt"}}
METHODS: dict[str, dict[str, Any]] = {
    "dpo": {"losses": [{"name": "dpo", "beta": BETA}]},
    "tidpo weights": {"losses": [{"name": "weighted_dpo", "beta": BETA}], "weighting": HYBRID},
    "tidpo": {"losses": [{"name": "weighted_dpo", "beta": BETA}, TRIPLET], "weighting": HYBRID},
}
"""Sections of a recipe: DPO; the token weights of TI-DPO; all of TI-DPO (recipes/hh/tidpo.yaml)."""


class Timed(ObjectiveStep):
    """Notes what drawing anchors takes."""

    turns: Turns

    def prepare(self, *args: Any) -> None:
        began = time.process_time()
        super().prepare(*args)
        self.turns.drawing = time.process_time() - began


def run(job: Job, turns: Turns, method: str, *, any_order: bool = False) -> None:
    """Trains for as long as there are turns."""
    recipe, folder = recipe_of(job, method), Path(tempfile.mkdtemp(dir=job.folder))
    rows = [token_row(row) for row in job.rows]
    policy, reference = load(job, "policy"), Reference(load(job, "reference").scorer.requires_grad_(False))
    tables = {ReferenceLogps(): reference_table(policy, reference, rows)}
    accelerator = make_accelerator(recipe.training, folder)
    live = None if recipe.method().needs.anchor is None else reference
    del reference
    step = Timed(Scoring(recipe.method(), policy, live, tables, accelerator.autocast), recipe.sizes())
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


def recipe_of(job: Job, method: str) -> Recipe:
    """What a user would write."""
    training = {
        "steps": len(job.batches) + 100,  # so that the last window of anchors is a whole one
        "batch_size": BATCH,
        "micro_batch_size": BATCH,
        "learning_rate": 1e-6,
        "schedule": "constant",
        "warmup": 0.0,
        "save_every": None,
        "precision": "fp32",
    }
    sections = {"model": {"name": "pretrained", "path": str(job.folder / "policy")}, "data": {"train": "given"}}
    return Recipe.model_validate(
        {**sections, "training": training, "trainer": {"name": "preference"}, **METHODS[method]}
    )


def token_row(row: Row) -> TokenRow:
    """As the data pipeline gives it."""
    ids = {name: np.array(row[name], dtype=np.int32) for name in ("prompt", "chosen", "rejected")}
    return TokenRow(row["index"], row["where"], ids.pop("prompt"), ids)


def load(job: Job, name: str) -> Policy:
    """One of the job's models, ready for training."""
    source = Pretrained(name="pretrained", path=str(job.folder / name))
    return build_policy(source, source.load_tokenizer(()), seed=0, separate=False, device=torch.device("cpu"))


def reference_table(policy: Policy, reference: Reference, rows: list[TokenRow]) -> Table:
    """Log-probs of the reference, as a run finds them in its cache."""
    logps = {}
    for row in rows:
        batch = policy.batch([row])
        logps[row.key] = reference.score(batch, Want()).logp_BRT[batch.mask_BRT]
    return Table(logps)
