"""The keys of a recipe with their dotted paths, as Tab and the schema for a recipe offer them."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignkit.libraries.known import Libraries
from alignkit.recipe.files import read_recipe_tree
from alignkit.recipe.overrides import override
from alignkit.recipe.parts import parts
from alignkit.recipe.recipe import Recipe
from alignkit.recipe.render import scalar
from alignkit.recipe.settings import filled, settings, spellings, values_of, written
from alignkit.recipe.stages import Roots
from alignkit.recipe.tree import Node, Place, nearest

RECIPES = Path(__file__).parents[2] / "recipes"
NOWHERE = Place("")


def given(name):
    return read_recipe_tree(RECIPES / f"{name}.yaml", Libraries.here()).root


@pytest.mark.parametrize("name", ["tidpo", "methods/tis_triplet", "gsm8k/tidpo", "mistral-7b/tidpo_lora"])
def test_each_path_sets_the_value_that_it_names(name):
    whole = filled(given(name))
    found = 0
    for setting in settings(whole):
        node, depth = nearest(whole, (*setting.part.path, setting.key))
        if depth > len(setting.part.path):
            for path in setting.paths:
                found += 1
                assert override(Roots(whole), f"{path}={scalar(node.plain())}").root.plain() == whole.plain(), path
    assert found > 80


def test_what_is_written_can_be_taken_away_by_each_spelling():
    root = given("tidpo")
    for path in written(root):
        for spelled in spellings(root, path):
            assert nearest(override(Roots(root), f"~{spelled}").root, path)[0] != nearest(root, path)[0], spelled


def test_items_are_named_where_the_name_is_of_one_only():
    texts = ["dpo", "nll", "dpo"]
    root = Node({"losses": Node([Node(text, NOWHERE) for text in texts], NOWHERE)}, NOWHERE)
    assert spellings(root, ("losses", 1, "coefficient")) == ["losses.nll.coefficient", "losses.1.coefficient"]
    assert spellings(root, ("losses", 2)) == ["losses.2"]


def test_a_recipe_with_a_mistake_is_left_as_it_is():
    root = override(Roots(given("tidpo")), "seed=-1").root
    assert filled(root) is root
    assert filled(given("tidpo")).child("pair_weighting").plain()["name"] == "uniform"


def test_values_that_can_be_listed():
    fields = {
        ".".join(map(str, (*part.path, key))): field
        for part in parts(Recipe, given("tidpo"))
        for key, field in part.cls.model_fields.items()
    }
    listed = {path: values_of(field) for path, field in fields.items()}
    assert listed["training.schedule"] == ["cosine", "linear", "constant"]
    assert listed["evaluation.weighted"] == ["true", "false"]
    assert listed["training.eval_every"] == ["null"]
    assert listed["losses.1.anchor"] == ["sample_prompt", "teacher_forced"]
    assert listed["seed"] == listed["losses"] == []
