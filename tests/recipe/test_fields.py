"""Every field of every component and section answers every kind of wrong value in our words, never in pydantic's."""

from __future__ import annotations

import re

import pytest

from alignkit.errors import RecipeError
from alignkit.recipe.kinds import KINDS
from alignkit.recipe.load import load_recipe
from alignkit.recipe.parts import parts
from alignkit.recipe.recipe import Recipe

RECIPE = "model: world\ndata: {train: 'builtin:world'}\nlosses: [dpo]\ntrainer: preference\n"
WRONG = ("-1e30", "1.5", "true", "null", "'text'", "''", "[]", "[[]]", "{}", "{a: 1}", ".nan")
OURS = re.compile(
    r"expected |must be |unknown |missing|too (few|many|short|long)|belongs |needs |give "
    r"|'.*' (is|holds|belongs|computes)|[\w' -]+; |.* are more than |.* is no multiple of "
)
SLOTS = {"weighting": "weighting", "pair_weighting": "pair_weighting", "loss": "losses.0", "model": "model"}


def fields():
    for part in parts(Recipe, None):
        yield from (".".join(map(str, (*part.path, key))) for key in part.cls.model_fields if "N" not in part.path)
    for kind, path in SLOTS.items():
        for name, cls in KINDS[kind].classes().items():
            yield from (f"{path}={{name: {name}, {key}: VALUE}}" for key in cls.model_fields if key != "name")


@pytest.mark.parametrize("field", sorted(set(fields())))
def test_wrong_values(tmp_path, field):
    (tmp_path / "r.yaml").write_text(RECIPE)
    for value in WRONG:
        argument = field.replace("VALUE", value) if "=" in field else f"{field}={value}"
        try:
            load_recipe(tmp_path / "r.yaml", [argument])
        except RecipeError as error:
            for problem in error.problems:
                assert OURS.match(problem.message), problem
                assert "\n" not in str(problem) and "pydantic" not in str(problem) and "Input" not in str(problem)
