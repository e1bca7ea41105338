"""One merge (defaults, base, recipe, --set) that knows where each value came from."""

from __future__ import annotations

from importlib.metadata import distributions
from pathlib import Path

import pytest
from pydantic import ValidationError

from alignkit import entry_points
from alignkit.data.config import DataConfig
from alignkit.errors import RecipeError
from alignkit.recipe.libraries import is_sweep
from alignkit.recipe.load import load_recipe
from alignkit.recipe.pipeline import load
from alignkit.recipe.recipe import Recipe
from alignkit.weighting import weightings

BASE = """\
model: world
data: {train: "builtin:world", max_rows: 100}
weighting:
  name: hybrid
  mix: 0.5
  prior: {name: prior, sigma_divisor: 8}
losses:
  - {name: weighted_dpo, beta: 1.0}
  - triplet
trainer: preference
training: {steps: 10}
"""
RECIPES = Path(__file__).parents[2] / "recipes"
SHIPPED = sorted(path for path in RECIPES.rglob("*.yaml") if path.parent.name != "base" and not is_sweep(path))


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes files into the working folder, `base.yaml` among them."""
    monkeypatch.chdir(tmp_path)

    def write(**texts):
        for name, text in {"base": BASE, **texts}.items():
            Path(f"{name}.yaml").write_text(text)

    return write


def complaint(*arguments):
    with pytest.raises(RecipeError) as caught:
        load_recipe(*arguments)
    return str(caught.value)


# --- extends ---


def test_mappings_merge_and_everything_else_replaces(write):
    write(child="extends: base.yaml\nweighting: {mix: 0.7}\nlosses: [dpo]\ndata: {max_rows: null}\n")
    tree = load_recipe("child.yaml").tree()
    assert (tree["weighting"]["name"], tree["weighting"]["mix"]) == ("hybrid", 0.7)
    assert tree["weighting"]["prior"]["sigma_divisor"] == 8
    assert [loss["name"] for loss in tree["losses"]] == ["dpo"]
    assert (tree["data"]["train"], tree["data"]["max_rows"]) == ("builtin:world", None)


@pytest.mark.parametrize("slot", ["uniform", "{name: uniform}"])
def test_another_component_replaces_the_old_ones_parameters(write, slot):
    write(child=f"extends: base.yaml\nweighting: {slot}\n")
    assert load_recipe("child.yaml").recipe.weighting.name == "uniform"


@pytest.mark.parametrize("slot", ["hybrid", "{name: hybrid}"])
def test_the_same_component_keeps_its_parameters(write, slot):
    write(child=f"extends: base.yaml\nweighting: {slot}\n")
    assert load_recipe("child.yaml").recipe.weighting.mix == 0.5


def test_parameters_can_be_added_to_a_bare_name(write):
    write(child="extends: base.yaml\nmodel: {head_chunk: 64}\n")
    model = load_recipe("child.yaml").recipe.model
    assert (model.name, model.head_chunk) == ("world", 64)


def test_of_several_bases_the_later_wins_and_the_recipe_over_both(write):
    write(
        one="extends: base.yaml\nseed: 1\ntraining: {batch_size: 1, micro_batch_size: 1}\n",
        two="seed: 2\ntraining: {batch_size: 2}\n",
        child="extends: [one.yaml, two.yaml]\ntraining: {log_every: 3}\n",
    )
    recipe = load_recipe("child.yaml").recipe
    training = recipe.training
    assert (recipe.seed, training.micro_batch_size, training.batch_size, training.log_every) == (2, 1, 2, 3)


def test_files_are_relative_to_the_file_that_names_them(write, monkeypatch, tmp_path):
    write()
    (tmp_path / "sub").mkdir()
    Path("sub/middle.yaml").write_text("extends: ../base.yaml\nseed: 4\n")
    Path("sub/child.yaml").write_text("$schema: x.json\nextends: middle.yaml\n")
    loaded = load_recipe("sub/child.yaml")
    assert loaded.recipe.seed == 4
    assert (loaded.origins["seed"], loaded.origins["training.steps"]) == ("sub/middle.yaml:2", "base.yaml:11")


def test_a_circle_is_shown(write):
    write(a="extends: b.yaml\n", b="\nextends: a.yaml\n")
    assert complaint("a.yaml") == "b.yaml:2: extends: goes in a circle: a.yaml -> b.yaml -> a.yaml"


def test_missing_files_are_answered_with_the_nearest(write):
    write(child="extends: bsae.yaml\n")
    assert complaint("child.yaml") == "child.yaml:1: extends: no file 'bsae.yaml'; did you mean 'base.yaml'?"
    assert complaint("chidl.yaml") == "no file 'chidl.yaml'; did you mean 'child.yaml'?"
    Path("folder").mkdir()
    assert complaint("folder") == "'folder' is a folder, not a recipe"


@pytest.mark.parametrize("value", ["3", "{a: b}", "[base.yaml, 3]"])
def test_extends_takes_names(write, value):
    write(child=f"extends: {value}\n")
    assert complaint("child.yaml") == "child.yaml:1: extends: expected a file name or a list of file names"


def test_a_problem_is_placed_in_the_file_that_has_it(write):
    write(child="extends: base.yaml\nweighting: {mix: 7}\n", base=BASE.replace("max_rows", "maxrows"))
    keys = ", ".join(sorted(DataConfig.model_fields))
    assert complaint("child.yaml").splitlines() == [
        f"base.yaml:2: data.maxrows: unknown key; did you mean 'max_rows'? known keys: {keys}",
        "child.yaml:2: weighting.mix: must be at most 1, got 7",
    ]


# --- --set ---


@pytest.mark.parametrize(
    ("override", "edit"),
    [
        ("weighting.mix=0.25", "weighting: {mix: 0.25}"),
        ("weighting=uniform", "weighting: uniform"),
        ("weighting.name=random", "weighting: {name: random}"),
        ("weighting={name: prior, sigma_divisor: 3}", "weighting: {name: prior, sigma_divisor: 3}"),
        ("losses.0.beta=0.5", "losses: [{name: weighted_dpo, beta: 0.5}, triplet]"),
        ("losses.1.margin=0.5", "losses: [{name: weighted_dpo, beta: 1.0}, {name: triplet, margin: 0.5}]"),
        ("losses=[dpo]", "losses: [dpo]"),
        ("training.learning_rate=5e-7", "training: {learning_rate: 5e-7}"),
        ("evaluation.pairs=3", "evaluation: {pairs: 3}"),
        ("data.max_rows=null", "data: {max_rows: null}"),
        ("data.max_rows=", "data: {max_rows: }"),
        ("model.adapter={rank: 4}", "model: {adapter: {rank: 4}}"),
        ("model.adapter.rank=4", "model: {adapter: {rank: 4}}"),
        ("data.train='builtin:world'", "data: {train: 'builtin:world'}"),
    ],
)
def test_set_equals_editing_the_file(write, override, edit):
    write(child=f"extends: base.yaml\n{edit}\n")
    assert load_recipe("base.yaml", [override]).recipe == load_recipe("child.yaml").recipe


def test_the_last_set_wins(write):
    write()
    assert load_recipe("base.yaml", ["seed=1", "seed=2"]).recipe.seed == 2


LOSSES_HAVE = "the list has items 0 to 1"


KEY_VALUE = "expected KEY=VALUE, such as losses.0.beta=0.5, or ~KEY to take away what is inherited"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", KEY_VALUE),
        ("a..b=1", KEY_VALUE),
        ("=1", KEY_VALUE),
        ("~losses.triplet=1", KEY_VALUE),
        (
            "~losses.tripplet",
            "losses: no item is called 'tripplet'; did you mean 'triplet'? the list has weighted_dpo, "
            "triplet; an index (0 to 1) will do too",
        ),
        ("losses.2.beta=1", f"losses: no item 2; {LOSSES_HAVE}"),
        (
            "losses.beta=1",
            "losses: no item is called 'beta'; the list has weighted_dpo, triplet; an index (0 to 1) will do too",
        ),
        ("seed.0=1", "seed: there is no list here to take item 0 of; set the whole list: seed=[...]"),
        ("seed=[1", "not valid YAML: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'"),
        ("extends=x.yaml", "'extends' can only stand in a recipe file"),
        (
            "losses.0.bta=1",
            "losses.0.bta: unknown key; did you mean 'beta'? "
            "known keys: beta, coefficient, label_smoothing, name, pair_weighted",
        ),
        ("training.steps=many", "training.steps: expected a whole number, got 'many' (a string)"),
        ("losses=[]", "losses: too few items: needs at least 1, got 0"),
    ],
)
def test_a_wrong_set(write, override, message):
    write()
    assert complaint("base.yaml", [override]) == f"--set {override}: {message}"


def test_wrong_sets_and_wrong_lines_come_together(write):
    write(child="extends: base.yaml\nseed: -1\n")
    assert complaint("child.yaml", ["losses.9.beta=1", "training.steps=0"]).splitlines() == [
        f"--set losses.9.beta=1: losses: no item 9; {LOSSES_HAVE}",
        "--set training.steps=0: training.steps: must be greater than 0, got 0",
        "child.yaml:2: seed: must be at least 0, got -1",
    ]


# --- origins and the resolved recipe ---


def test_every_value_knows_who_set_it(write):
    write(child="extends: base.yaml\n\nweighting:\n  mix: 0.7\n")
    origins = load_recipe("child.yaml", ["losses.0.beta=0.5"]).origins
    assert origins["weighting.name"] == "base.yaml:4"
    assert origins["weighting.mix"] == "child.yaml:4"
    assert origins["weighting.rescale"] == "default"
    assert origins["losses.0.name"] == "base.yaml:8"
    assert origins["losses.0.beta"] == "--set losses.0.beta=0.5"
    assert origins["losses.1.name"] == "base.yaml:9"  # `- triplet` names it
    assert origins["losses.1.anchor.name"] == "default"
    assert origins["pair_weighting.name"] == "default"
    assert origins["training.betas.0"] == "default"


def test_the_resolved_recipe_says_who_set_each_value(write):
    write()
    lines = load_recipe("base.yaml", ["seed=3"]).to_yaml(origin=True).splitlines()
    column = lines[0].index("#")
    assert lines[0] == f"{'seed: 3':<{column}}# --set seed=3"
    assert f"{'  max_rows: 100':<{column}}# base.yaml:2" in lines
    assert f"{'  - name: triplet':<{column}}# base.yaml:9" in lines
    assert f"{'  epochs: null':<{column}}# default" in lines


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.relative_to(RECIPES).as_posix())
@pytest.mark.parametrize("origin", [False, True], ids=["plain", "origin"])
def test_the_resolved_recipe_is_the_same_recipe(path, origin, tmp_path):
    loaded = load(path)
    (tmp_path / "resolved.yaml").write_text(loaded.to_yaml(origin))
    again = load(tmp_path / "resolved.yaml")
    assert again.tree() == loaded.tree()
    assert again.to_yaml() == loaded.to_yaml()
    assert "default" not in again.origins.values()


def test_there_are_shipped_recipes():
    assert len(SHIPPED) > 10


# --- what else a loaded recipe knows ---


def test_the_plugins_of_a_recipe_are_known_with_their_versions(write, tmp_path, monkeypatch):
    info = tmp_path / "tiny-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[alignkit.weighting]\ntiny_prior = alignkit.weighting.prior:Prior\n")
    monkeypatch.setattr(entry_points, "distributions", lambda: distributions(path=[str(tmp_path)]))
    entry_points._scanned.cache_clear()
    try:
        write(child="extends: base.yaml\nweighting: {prior: tiny_prior}\n")
        assert load_recipe("child.yaml").plugins == {"tiny": "1.2"}
        assert load_recipe("base.yaml").plugins == {}
    finally:
        entry_points._scanned.cache_clear()
        weightings._classes.pop("tiny_prior", None)


def test_a_mistake_in_python_names_its_key():
    with pytest.raises(ValidationError) as caught:
        Recipe(model="world", data={"train": "builtin:world"}, losses=[{"name": "dpo", "bta": 1}], trainer="preference")
    assert "bta: Extra inputs are not permitted" in str(caught.value)
