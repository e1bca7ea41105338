"""What a run scores with: the reference in the way the recipe asks for, and all that is computed before training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from alignkit.anchors.sample_prompt import SamplePrompt
from alignkit.contrasts.prompts import Prompts
from alignkit.data.rows import Tables
from alignkit.models.lengths import Longest
from alignkit.models.policy import Policy, build_policy
from alignkit.models.reference import Reference, frozen_copy, reference_kind
from alignkit.recipe.recipe import Recipe
from alignkit.scoring import Scoring, tabulated
from alignkit.token_values.base import TokenValues
from alignkit.token_values.bench import Bench, SideRuns
from alignkit.token_values.reference_logps import ReferenceLogps
from alignkit.token_values.table import load_table

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedTokenizerBase


def longest_rows(recipe: Recipe, tables: Tables, tokenizer: PreTrainedTokenizerBase) -> Longest:
    """What the model must be able to take in one row: the data's longest, and the longest that may be sampled."""
    rows, needs = (*tables.train, *tables.eval), recipe.needs()
    num_before = max((_num_before(values, tokenizer) for values in needs.values), default=0)
    found = [(num_before + max(row.length for row in rows), "data.max_length")]
    num_anchor = 0
    if isinstance(needs.anchor, SamplePrompt):
        num_anchor = needs.anchor.max_new_tokens
        found.append((max(len(row.prompt) for row in rows) + num_anchor, "the anchor's max_new_tokens"))
    sampled = tables.eval[: recipe.evaluation.samples]
    if sampled:
        num_prompt = max(len(row.prompt) for row in sampled)
        found.append((num_prompt + recipe.evaluation.max_new_tokens, "evaluation.max_new_tokens"))
    tokens, key = max(found, key=lambda pair: pair[0])
    together = max(len(row.prompt) + sum(map(len, row.responses.values())) for row in rows)
    return Longest(tokens, key, shared=max(tokens, together + num_anchor, together + num_before))


def _num_before(values: TokenValues, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens that a contrast puts before each prompt."""
    contrast = getattr(values, "contrast", None)
    if not isinstance(contrast, Prompts):
        return 0
    texts = (contrast.positive, contrast.negative)
    return max(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)


def build_scoring(
    recipe: Recipe,
    policy: Policy,
    tables: Tables,
    fingerprints: Mapping[str, str],
    accelerator: Accelerator,
    side: SideRuns,
) -> tuple[Scoring, Callable[[], Reference] | None]:
    """The scoring of the recipe, and what makes a live reference for its evaluation, or None when it has none.

    Args:
        recipe: with its learning rate resolved.
        policy: the model before training.
        tables: all rows that will be scored.
        fingerprints: of data, template and model before training.
        accelerator: tells the processes apart.
        side: what trainings that token weights need beforehand have to know of the run.

    Raises:
        AlignkitError: the reference cannot be had in the way asked for, or a part of the work failed.
    """
    needs = recipe.needs()
    kind = reference_kind(recipe.model, policy.has_adapter, needs) if needs.reference else None
    reference: Reference | None = None
    if kind in ("adapter_off", "copy"):
        reference = Reference(policy.scorer, policy) if kind == "adapter_off" else frozen_copy(policy)

    def start() -> Reference:
        """The model before training, as long as it is not trained yet."""
        return reference or Reference(policy.scorer, policy if policy.has_adapter else None)

    def reload() -> Reference:
        """The starting model again: with cached log-probs no copy of it is kept while training."""
        fresh = build_policy(
            recipe.model,
            policy.tokenizer,
            seed=recipe.seed,
            separate=False,
            device=accelerator.device,
            longest=longest_rows(recipe, tables, policy.tokenizer),
        )
        return frozen_copy(fresh)

    bench = Bench(recipe, policy, start, tables.train, accelerator, fingerprints, side)
    every = tabulated(needs) | ({ReferenceLogps()} if kind == "cache" else set())
    wanted = [values for values in sorted(every, key=repr) if side.may_train or not values.trains]
    rows = (*tables.train, *tables.eval)
    found = {values: load_table(values, rows, bench) for values in wanted}
    side.tidy(accelerator)
    scoring = Scoring(recipe, policy, reference, found, accelerator.autocast)
    if kind is None:
        return scoring, None
    return scoring, (lambda: reference) if reference is not None else reload
