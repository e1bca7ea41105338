"""A run folder holds the recipe with every default; `--resume` and `inspect` read it, so nothing of it may be refused.

Options that shut each other out are where that fails.
"""

from __future__ import annotations

import pytest
import yaml

from alignkit.recipe.load import load_recipe

RECIPE = "{model: {name: scratch}, data: {train: toy.jsonl}, losses: [dpo], trainer: preference}"


@pytest.mark.parametrize(
    "override",
    [
        "weighting={name: transport, by: distance}",
        "weighting={name: guide, form: size}",
        "weighting={name: diff, mode: prefix}",
        "weighting={name: side, rejected_column: gap}",
        "weighting={name: shared_length, mode: sample}",
        "weighting={name: select, of: {name: product, of: [{name: transport, by: distance}, shuffled]}}",
        "weighting={name: mix, of: [confidence, {name: select, per: step}], shares: [0.3, 0.7]}",
        "pair_weighting={name: ches, tau: 0.3}",
        "losses=[{name: f_dpo, divergence: js}]",
        "losses=[{name: bco, shift: none}]",
    ],
)
def test_a_recipe_with_all_its_defaults_is_the_same_recipe(override: str, tmp_path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    recipe = load_recipe(path, [override]).recipe
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    assert load_recipe(path).recipe == recipe
