"""What a sweep file may hold, and what is said of mistakes in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignkit.cli import main
from alignkit.errors import RecipeError
from alignkit.libraries.known import Libraries
from alignkit.recipe.load import load_recipe
from alignkit.sweep.read import read_sweep_file

KNOWN = "known keys: arms, claims, grid, keep, random, recipe, report, seeds, set"


def complaint(path: Path) -> str:
    with pytest.raises(RecipeError) as caught:
        read_sweep_file(str(path), Libraries())
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipe: recipe.yaml\nseads: [0]\n", f"sweep.yaml:2: seads: unknown key; did you mean 'seeds'? {KNOWN}"),
        (
            "recipe: recipe.yaml\narms:\n  dpo: {recip: a.yaml}\n",
            "sweep.yaml:3: arms.dpo.recip: unknown key; did you mean 'recipe'? known keys: grid, recipe, set",
        ),
        (
            "recipe: recipe.yaml\narms:\n  dpo:\n",
            "sweep.yaml:3: arms.dpo: expected a mapping, got null",
        ),
        (
            "recipe: recipe.yaml\narms: {'a b': {}}\n",
            "sweep.yaml:2: arms: 'a b' cannot be the name of an arm; take letters, digits, '_', '-' and '.', at most "
            "40",
        ),
        ("recipe: recipe.yaml\ngrid: {seed: 1}\n", "sweep.yaml:2: grid.seed: expected a list, got 1 (a number)"),
        ("recipe: recipe.yaml\nseeds: [1, 0, 1]\n", "sweep.yaml:2: seeds: the same seed twice is the same run twice"),
        (
            "recipe: recipe.yaml\nseeds: [1]\nset: {seed: 3}\n",
            "sweep.yaml:3: seed: given twice: 'seeds' gives it too",
        ),
        ("recipe: recipe.yaml\nset: {extends: a.yaml}\n", "sweep.yaml:2: extends: can only stand in a recipe file"),
        (
            "recipe: recipe.yaml\nrandom:\n  draws: 0\n  of: {seed: {low: 2, high: 1}}\n",
            "sweep.yaml:3: random.draws: must be greater than 0, got 0\n"
            "sweep.yaml:4: random.of.seed: low must be less than high",
        ),
        (
            "recipe: recipe.yaml\nkeep: some\n",
            "sweep.yaml:2: keep: unknown value 'some'; known: all, final, none",
        ),
        (
            "losses: [dpo]\n",
            "sweep.yaml:1: this is no sweep: it has no key 'recipe', which names the recipe to vary; a recipe is run "
            "with alignkit run sweep.yaml",
        ),
        ("recipe: [\n", "sweep.yaml:2: not valid YAML: while parsing a flow node, expected the node content, but "),
    ],
)
def test_a_mistake_is_told_with_its_line(write, text: str, message: str):
    assert complaint(write(text)).startswith(message)


def test_a_sweep_is_no_recipe_and_says_which_command_takes_it(write, capsys: pytest.CaptureFixture[str]):
    path = write("recipe: recipe.yaml\n")
    message = "sweep.yaml:1: recipe: this is a sweep and no recipe; run it with alignkit sweep sweep.yaml"
    with pytest.raises(SystemExit) as caught:
        main(["validate", str(path)])
    assert (caught.value.code, capsys.readouterr().err) == (2, f"{message}\n")
    Path("child.yaml").write_text("extends: sweep.yaml\n")
    with pytest.raises(RecipeError, match="this is a sweep"):
        load_recipe("child.yaml")
