"""What docs/rewards.md shows is a recipe, and it names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alignkit.recipe.load import load_recipe
from alignkit.rewards import rewards

PAGE = (Path(__file__).parents[2] / "docs" / "rewards.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("recipe", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_a_recipe_of_the_page_loads(recipe, tmp_path):
    (name,) = re.findall(r"train: (\w+\.jsonl)", recipe)
    (tmp_path / name).touch()
    (tmp_path / "r.yaml").write_text(recipe)
    assert load_recipe(tmp_path / "r.yaml").recipe.rewards


def test_each_row_names_a_reward_and_the_column_that_it_reads():
    given = {"constraints": {"no_commas": True}, "length": {"max": 64}, "regex": {"pattern": "a"}}
    rows = re.findall(r"^\| `(\w+)` \| [^|]* \|(?: `(\w+)`)?", PAGE, re.MULTILINE)
    assert len(rows) == 8
    for name, column in rows:
        if name != "math":  # it reads what `answer` reads
            assert rewards.build(name, given.get(name, {})).columns() == ({column} if column else set())
