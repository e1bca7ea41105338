"""docs/evaluate.md: its recipes are recipes, and its table says what the benchmarks give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alignkit.benchmarks import benchmarks
from alignkit.recipe.load import load_recipe

PAGE = (Path(__file__).parents[2] / "docs" / "evaluate.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_its_recipes_can_be_loaded(tmp_path, block):
    (tmp_path / "r.yaml").write_text(block if "extends" in block else f"extends: alignkit:tidpo.yaml\n{block}")
    assert load_recipe(tmp_path / "r.yaml").recipe.evaluation.benchmarks


def test_it_lists_every_benchmark():
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE) == [
        "gsm8k",
        "humaneval",
        "choices",
        "constraints",
        "lm_eval",
    ]
    assert sorted(benchmarks.names()) == ["choices", "constraints", "gsm8k", "humaneval", "lm_eval"]
