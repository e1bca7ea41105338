"""A recipe changes one value of what it extends, or takes one away, without writing the rest again."""

from __future__ import annotations

import pytest

from alignkit.errors import RecipeError
from alignkit.recipe.load import load_recipe

BASE = """\
model: {name: world}
data: {train: "builtin:world"}
weighting: {name: hybrid, mix: 0.7}
losses:
  - {name: weighted_dpo, beta: 1.0}
  - {name: triplet, coefficient: 0.1, anchor: {name: sample_prompt, top_k: 20}}
trainer: {name: preference}
training: {steps: 5, warmup: 0.5}
"""


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Loads a recipe with these lines on top of the base."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(BASE)

    def load(lines: str, *overrides: str):
        (tmp_path / "child.yaml").write_text(f"extends: base.yaml\n{lines}\n")
        return load_recipe("child.yaml", overrides)

    return load


def refused(child, lines: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        child(lines, *overrides)
    return str(caught.value)


@pytest.mark.parametrize("path", ["losses.0.beta", "losses.weighted_dpo.beta"])
def test_one_field_of_an_item_by_place_or_by_name(child, path):
    found = child(f"{path}: 0.2")
    first, second = found.recipe.losses
    assert (first.beta, second.coefficient, second.anchor.top_k) == (0.2, 0.1, 20)
    assert found.origins["losses.0.beta"] == "child.yaml:2"
    assert found.origins["losses.1.coefficient"] == "base.yaml:6"


def test_a_field_inside_an_item_and_a_mapping_that_is_merged(child):
    found = child("losses.triplet.anchor.top_k: 7\nlosses.triplet.anchor: {temperature: 0.5}\ndata.max_length: 99")
    anchor = found.recipe.losses[1].anchor
    assert (anchor.top_k, anchor.temperature, found.recipe.data.max_length) == (7, 0.5, 99)


def test_another_component_replaces_an_item_whole(child):
    found = child("losses.weighted_dpo: {name: ipo}")
    assert [loss.name for loss in found.recipe.losses] == ["ipo", "triplet"]


@pytest.mark.parametrize("given", ["recipe", "--set"])
@pytest.mark.parametrize("path", ["losses.triplet", "losses.1"])
def test_an_item_is_taken_away(child, path, given):
    found = child(f"~{path}:") if given == "recipe" else child("", f"~{path}")
    assert [loss.name for loss in found.recipe.losses] == ["weighted_dpo"]


def test_a_key_is_taken_away_and_its_default_is_back(child):
    found = child("~training.warmup:\n~weighting:")
    assert (found.recipe.training.warmup, found.recipe.training.steps) == (0.1, 5)
    assert (found.recipe.weighting.name, found.origins["weighting.name"]) == ("uniform", "default")


def test_it_goes_on_through_files_and_set(child, tmp_path):
    """A grandchild sees what the child made of the base, and `--set` wins."""
    child("losses.triplet.coefficient: 0.3\n~training.warmup:")
    (tmp_path / "grandchild.yaml").write_text("extends: child.yaml\nlosses.triplet.margin: 2.0\n")
    found = load_recipe("grandchild.yaml", ["losses.triplet.margin=3"])
    triplet = found.recipe.losses[1]
    assert (triplet.coefficient, triplet.margin) == (0.3, 3.0)
    assert found.origins["losses.1.coefficient"] == "child.yaml:2"


def test_keys_of_the_same_file_come_first(child):
    """The list is replaced, and then one of its fields is set."""
    found = child("losses: [{name: dpo}, {name: nll}]\nlosses.nll.coefficient: 0.5")
    assert [(loss.name, loss.coefficient) for loss in found.recipe.losses] == [("dpo", 1.0), ("nll", 0.5)]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "losses.tripplet.margin: 1.0",
            "losses: no item is called 'tripplet'; did you mean 'triplet'? the list has weighted_dpo, triplet; an "
            "index (0 to 1) will do too",
        ),
        ("losses.2.beta: 1.0", "losses: no item 2; the list has items 0 to 1"),
        (
            "~losses.triplet: {margin: 1.0}",
            "~losses.triplet: '~' takes away what a recipe extends, so no value can follow; got {'margin': 1.0}",
        ),
        (
            "~training.warmpu:",
            "training.warmpu: nothing to take away: no 'warmpu' is given here; did you mean 'warmup'? given: steps, "
            "warmup",
        ),
        ("losses..beta: 1.0", "losses..beta: expected a path such as losses.0.beta or losses.triplet.coefficient"),
        (
            "training.steps.0: 1",
            "training.steps: there is no list here to take item 0 of; set the whole list: training.steps=[...]",
        ),
    ],
)
def test_a_mistake_has_its_line(child, lines, message):
    assert refused(child, lines) == f"child.yaml:2: {message}"


def test_what_a_file_gives_twice(child):
    assert refused(child, "training: {steps: 7}\ntraining.steps: 8") == (
        "child.yaml:3: training.steps: given twice; first on line 2"
    )


def test_a_wrong_value_is_told_at_its_line(child):
    assert refused(child, "losses.triplet.margin: much") == (
        "child.yaml:2: losses.1.margin: expected a number, got 'much' (a string)"
    )
