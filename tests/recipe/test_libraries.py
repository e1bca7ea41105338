"""Recipes that come with a package, by name, from any folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignkit.errors import RecipeError
from alignkit.folder import RunFolder
from alignkit.libraries import known
from alignkit.recipe.libraries import is_sweep
from alignkit.recipe.load import load_recipe
from alignkit.recipe.pipeline import load

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def small_library(tmp_path, monkeypatch):
    """A library of four recipes in place of the shipped ones."""
    folder = tmp_path / "library"
    (folder / "base").mkdir(parents=True)
    (folder / "tidpo.yaml").write_text("seed: 1\n")
    (folder / "base" / "world.yaml").write_text("seed: 2\n")
    (folder / "base" / "up.yaml").write_text("extends: ../tidpo.yaml\n")
    (folder / "base" / "out.yaml").write_text("\nextends: ../../mine.yaml\n")
    (tmp_path / "mine.yaml").write_text("seed: 3\n")
    monkeypatch.setattr(known, "shipped", lambda: folder)


def complaint(*arguments):
    with pytest.raises(RecipeError) as caught:
        load_recipe(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("name", ["alignkit:methods/kto.yaml", "alignkit:methods/kto", "alignkit:./methods//kto"])
def test_a_shipped_recipe_is_the_file_of_that_name(name):
    assert load_recipe(name).recipe == load_recipe(RECIPES / "methods" / "kto.yaml").recipe
    assert load_recipe(Path(name), ["seed=7"]).recipe.seed == 7


def test_every_shipped_recipe_can_be_named():
    for path in RECIPES.rglob("*.yaml"):
        inner = path.relative_to(RECIPES).as_posix()
        if path.parent.name != "base" and not is_sweep(path):
            assert load(f"alignkit:{inner}").tree() == load(path).tree()


def test_origins_and_messages_show_the_name_that_works_everywhere():
    Path("child.yaml").write_text("extends: [alignkit:methods/kto, more.yaml]\n")
    Path("more.yaml").write_text("seed: 4\n")
    origins = load_recipe("child.yaml").origins
    assert (origins["seed"], origins["model.name"]) == ("more.yaml:1", "alignkit:base/world.yaml:4")
    assert origins["losses.0.name"].startswith("alignkit:methods/kto.yaml:")


def test_a_mistake_inside_is_placed_there(small_library):
    Path("library/tidpo.yaml").write_text("\nseed: -1\n")
    assert complaint("alignkit:base/up").splitlines()[-1] == ("alignkit:tidpo.yaml:2: seed: must be at least 0, got -1")


BRINGS = "alignkit brings tidpo; base/: out, up, world"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("alignkit:tidop", f"no recipe 'alignkit:tidop'; did you mean 'alignkit:tidpo.yaml'? {BRINGS}"),
        (
            "alignkit:zzzzzzzzzzzzzzzz/qqqqqqqqqqqqq.yml",
            f"no recipe 'alignkit:zzzzzzzzzzzzzzzz/qqqqqqqqqqqqq.yml'; {BRINGS}",
        ),
        ("alignkit:base", f"no recipe 'alignkit:base'; did you mean 'alignkit:base/up.yaml'? {BRINGS}"),
        ("alignkit:", f"no recipe 'alignkit:'; {BRINGS}"),
        *(
            (name, f"'{name}': a recipe of alignkit is named by its path below their folder, without '..'")
            for name in ("alignkit:../mine.yaml", "alignkit:base/../tidpo.yaml", "alignkit:/etc/passwd")
        ),
        ("algnkit:base/x.yaml", "no file 'algnkit:base/x.yaml'; did you mean 'alignkit:base/x.yaml'?"),
        ("acme:dpo/lora.yaml", "no file 'acme:dpo/lora.yaml'; there is no library 'acme', only alignkit"),
        ("c:x.yaml", "no file 'c:x.yaml'"),
    ],
)
def test_a_name_that_is_none(small_library, name, message):
    assert complaint(name) == message
    Path("child.yaml").write_text(f"\nextends: '{name}'\n")
    assert complaint("child.yaml") == f"child.yaml:2: extends: {message}"


def test_a_recipe_of_a_package_does_not_leave_it(small_library):
    message = "'../../mine.yaml': a recipe of alignkit is named by its path below their folder, without '..'"
    assert complaint("alignkit:base/out.yaml") == f"alignkit:base/out.yaml:2: extends: {message}"


def test_a_circle_through_a_package_is_shown(small_library):
    Path("library/tidpo.yaml").write_text("extends: base/up.yaml\n")
    assert complaint("alignkit:tidpo") == (
        "alignkit:base/up.yaml:1: extends: goes in a circle: "
        "alignkit:tidpo.yaml -> alignkit:base/up.yaml -> alignkit:tidpo.yaml"
    )


def test_a_file_may_have_a_colon_in_its_name():
    Path("acme:x.yaml").write_text("extends: alignkit:tidpo\nseed: 5\n")
    assert load_recipe("acme:x.yaml").recipe.seed == 5


@pytest.mark.parametrize("name", ["alignkit:tidpo", "alignkit:tidpo.yaml", "alignkit:mistral-7b/tidpo.yaml"])
def test_the_run_folder_is_called_after_the_recipe(name):
    with RunFolder.open(None, load_recipe(name).path.name, resume=False) as folder:
        assert folder.path.name.startswith("tidpo-2")
