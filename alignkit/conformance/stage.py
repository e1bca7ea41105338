"""A small run that is about to start, on the built-in world: for parts that look at models and rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from alignkit.data.rows import TokenRow
from alignkit.data.tables import load_tables
from alignkit.data.wanted import Wanted
from alignkit.engine.scoring import Scoring
from alignkit.engine.workbench import SideRuns, Workbench
from alignkit.lazy import accelerate, torch
from alignkit.loop.accelerator import own_state
from alignkit.models.policy import Policy, build_policy
from alignkit.models.reference import Reference, frozen_copy
from alignkit.recipe.recipe import Recipe
from alignkit.records.fingerprints import model_fingerprint

RECIPES = {
    "pairs": {"trainer": "preference", "losses": ["dpo"]},
    "labelled responses": {"trainer": "unpaired", "losses": ["kto"]},
    "responses": {"trainer": "sft", "losses": ["sft"]},
}
"""What a trainer gives -> the parts that train on it."""


@dataclass(frozen=True)
class Stage:
    """What a run has when it starts.

    Attributes:
        recipe: what it was built from.
        policy: the world's model, a little trained.
        reference: the same before.
        train: four training rows.
        held_out: three held-out rows.
    """

    recipe: Recipe
    policy: Policy
    reference: Reference
    train: Sequence[TokenRow]
    held_out: Sequence[TokenRow]

    @property
    def scoring(self) -> Scoring:
        """Of the recipe's method."""
        return Scoring(self.recipe.method(), self.policy, self.reference, {}, nullcontext)

    @contextmanager
    def bench(self) -> Iterator[Workbench]:
        """What models are trained on, on the side; its files are gone in the end."""
        start = self.policy.model
        with own_state(), TemporaryDirectory() as folder:
            yield Workbench(
                self.recipe.job(has_adapter=False),
                self.policy,
                lambda: self.reference,
                self.train,
                accelerate.Accelerator(cpu=True),
                {"model": model_fingerprint(start)},
                SideRuns(Path(folder)),
            )


@cache
def stage(gives: str) -> Stage:
    """The stage of a trainer that gives this, one of `RECIPES`."""
    recipe = Recipe.model_validate(
        {
            "model": {"name": "world"},
            "data": {"train": "builtin:world", "world": {"pairs": 4, "eval_pairs": 3}},
            "training": {"batch_size": 2, "micro_batch_size": 2, "learning_rate": 1e-3},
            "evaluation": {"max_new_tokens": 8},
            **RECIPES[gives],
        }
    )
    tokenizer = recipe.model.load_tokenizer(())
    wanted = Wanted.of(recipe.trainer.responses, recipe.data)
    tables = load_tables(recipe.data, tokenizer, wanted, seed=recipe.seed)
    policy = build_policy(
        recipe.model,
        tokenizer,
        seed=recipe.seed,
        separate=False,
        device=torch.device("cpu"),
        template_end=tables.end,
    )
    reference = frozen_copy(policy)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.02)
    return Stage(recipe, policy, reference, tables.train[:4], tables.eval)
