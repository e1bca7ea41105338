"""The recipe sets of the TI-DPO paper's tables: published numbers, rows and recipes are the same everywhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from alignkit.losses.tdpo import TDPO
from alignkit.recipe.load import load_recipe
from alignkit.recipe.recipe import Recipe
from alignkit.weighting.hybrid import Hybrid

FOLDER = Path(__file__).parents[1] / "recipes" / "paper"
PUBLISHED = json.loads((FOLDER / "published.json").read_text())
TABLES = sorted(PUBLISHED.keys() - {"paper"})
ON_POLICY = ("grpo", "logic_rl")
README = (FOLDER / "README.md").read_text()


def rows_in_readme(table: str) -> list[list[str]]:
    """Cells of each line of the table whose recipes lie in folder `table`, header first."""
    tables = re.findall(r"(?:^\|.*\n)+", README, re.MULTILINE)
    (text,) = [text for text in tables if f"]({table}/" in text]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return [lines[0], *lines[2:]]


def recipe(table: str, name: str) -> Recipe:
    return load_recipe(FOLDER / table / f"{name}.yaml").recipe


def test_every_folder_is_a_table() -> None:
    assert sorted(path.name for path in FOLDER.iterdir() if path.is_dir()) == TABLES


@pytest.mark.parametrize("table", TABLES)
def test_every_recipe_is_in_its_table_once_and_every_row_has_its_recipes(table: str) -> None:
    named = [name for row in PUBLISHED[table]["rows"] for name in row["recipes"]]
    assert sorted(named) == sorted(path.stem for path in (FOLDER / table).iterdir())
    without = {row["row"] for row in PUBLISHED[table]["rows"] if not row["recipes"]}
    assert without == {"table2": {"base model"}}.get(table, set())


@pytest.mark.parametrize("table", TABLES)
def test_the_readme_has_the_published_numbers(table: str) -> None:
    columns = PUBLISHED[table]["columns"]
    head, *lines = rows_in_readme(table)
    assert head == ["row", "recipe", *columns]
    expected = []
    for row in PUBLISHED[table]["rows"]:
        assert row["published"].keys() <= set(columns)
        numbers = [f"{row['published'][column]:.1f}" if column in row["published"] else "" for column in columns]
        expected.append([row["row"], [f"[{name}]({table}/{name}.yaml)" for name in row["recipes"]], *numbers])
    found = [[row, re.findall(r"\[.*?\]\(.*?\)", links), *numbers] for row, links, *numbers in lines]
    assert found == expected
    assert all(bool(of_row[1]) != line[1].startswith("none: ") for of_row, line in zip(found, lines, strict=True))


def test_the_average_of_table_1_is_the_mean_of_its_columns() -> None:
    """70.0 + 73.0 + 26.0 + 67.0 + 62.0 + 75.7 = 373.7, a sixth of it 62.28."""
    (full,) = [row["published"] for row in PUBLISHED["table1"]["rows"] if row["row"] == "TI-DPO"]
    benchmarks = [full[column] for column in PUBLISHED["table1"]["columns"][1:]]
    assert full["average"] == round(sum(benchmarks) / 6, 1)


def test_the_sweeps_set_what_their_rows_say() -> None:
    for row in PUBLISHED["table_b11"]["rows"]:
        weighting = recipe("table_b11", row["recipes"][0]).weighting
        assert isinstance(weighting, Hybrid) and row["row"] == f"lambda {weighting.mix:g}"
    for row in PUBLISHED["table_b12"]["rows"]:
        loss = recipe("table_b12", row["recipes"][0]).losses[0]
        assert isinstance(loss, TDPO) and loss.version == 2 and row["row"] == f"alpha {loss.alpha:g}"


def test_all_share_data_and_model_except_where_the_method_forbids_it() -> None:
    base = recipe("table1", "dpo")
    for table in TABLES:
        for row in PUBLISHED[table]["rows"]:
            for name in row["recipes"]:
                of = recipe(table, name)
                assert of.model == base.model and of.seed == base.seed and of.evaluation == base.evaluation
                assert of.data == base.data or name in ("tpo", *ON_POLICY)
                assert of.training == base.training or name in ("sft", "simpo", "kto", *ON_POLICY)


def test_what_trains_on_its_own_samples_has_the_questions_of_a_benchmark() -> None:
    grpo, logic_rl = (recipe("table1", name) for name in ON_POLICY)
    assert grpo.data == logic_rl.data and grpo.data.train == "openai/gsm8k"
    assert [reward.name for reward in grpo.rewards] == ["answer"]
    assert [reward.name for reward in logic_rl.rewards] == ["format", "answer"]
