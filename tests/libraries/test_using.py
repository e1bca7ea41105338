"""`alignkit recipes`, `copy`, `library show`, `library check`: finding a recipe, starting from it, sharing it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alignkit.authoring import SMOKE
from alignkit.libraries.known import Libraries
from alignkit.recipe.load import LoadedRecipe, load_recipe

HEAD = 'name = "house"\nversion = "1.2"\nschema = 1\n'


@pytest.fixture
def house(project, alignkit):
    """A library in a folder beside the project, and in it."""
    folder = project.parent / "house"
    (folder / "base").mkdir(parents=True)
    (folder / "library.toml").write_text(HEAD + 'licence = "MIT"\nmaintainers = ["the team"]\n')
    (folder / "base" / "hh.yaml").write_text(
        "# base/hh.yaml: what our HH recipes share.\nextends: alignkit:base/world.yaml\n"
    )
    (folder / "tidpo.yaml").write_text(
        "# TI-DPO as the house uses it.\n# alignkit run house:tidpo\n# Needs: one GPU of 24 GB\n"
        "extends: [alignkit:tidpo.yaml, base/hh.yaml]\nmodel: {name: pretrained, path: owner/model}\n"
    )
    (folder / "old.yaml").write_text("# As it was.\ndeprecated: use house:tidpo\nextends: tidpo.yaml\n")
    assert alignkit("library", "add", "house", "path:../house")[0] == 0
    return folder


def test_recipes_are_found_with_purpose_and_needs(house, alignkit):
    code, told, errors = alignkit("recipes", "HOUSE")
    assert (code, errors) == (0, "")
    assert told.splitlines() == [
        "house:old.yaml      As it was. [needs model owner/model] (deprecated: use house:tidpo)",
        "house:tidpo.yaml    TI-DPO as the house uses it. [needs one GPU of 24 GB, model owner/model]",
        "house:base/hh.yaml  what our HH recipes share.",
    ]
    (first, *_) = json.loads(alignkit("recipes", "house:tidpo", "--json")[1])
    assert first == {
        "name": "house:tidpo.yaml",
        "version": "1.2",
        "purpose": "TI-DPO as the house uses it.",
        "needs": "one GPU of 24 GB, model owner/model",
        "deprecated": "",
        "problem": "",
    }
    assert alignkit("recipes", "no such thing") == (0, "", "")


def test_every_shipped_recipe_is_listed_with_a_purpose(project, alignkit):
    found = json.loads(alignkit("recipes", "--json")[1])
    assert len(found) > 80
    assert all(one["purpose"] and not one["problem"] for one in found)


def test_a_recipe_that_cannot_be_read_does_not_hide_the_others(house, alignkit):
    (house / "tidpo.yaml").write_text("# Broken.\nextends: nowhere.yaml\n")
    assert alignkit("library", "update")[0] == 0
    lines = alignkit("recipes", "house")[1].splitlines()
    assert lines[1].split(maxsplit=1)[1].startswith("house:tidpo.yaml:2: extends: no recipe 'nowhere.yaml'")
    assert len(lines) == 3


def test_a_library_shows_itself(house, alignkit):
    told = alignkit("library", "show", "house")[1].splitlines()
    assert told[0].startswith("house 1.2 (sha256:")
    assert told[1:3] == ["  licence: MIT", "  maintainers: the team"]
    assert told[-1] == "  house:base/hh.yaml  what our HH recipes share."
    said = "unknown library 'hous'; did you mean 'house'? known: alignkit, house\n"
    assert alignkit("library", "show", "hous") == (2, "", said)


def test_a_copy_extends_and_is_no_fork(house, alignkit):
    said = "mine.yaml: extends 'house:tidpo.yaml'; run it with alignkit run mine.yaml\n"
    assert alignkit("copy", "house:tidpo", "mine.yaml") == (0, said, "")
    assert Path("mine.yaml").read_text() == (
        "# TI-DPO as the house uses it.\n# from house:tidpo.yaml@1.2\n# alignkit run mine.yaml\n"
        "extends: house:tidpo.yaml\n"
    )
    assert load_recipe("mine.yaml").recipe == load_recipe("house:tidpo").recipe
    code, _, errors = alignkit("copy", "house:tidpo", "mine.yaml")
    assert (code, errors) == (2, "mine.yaml: is there already; give another name\n")


def test_a_flat_copy_needs_nothing_else(house, alignkit):
    assert alignkit("copy", "house:tidpo", "flat.yaml", "--flat")[0] == 0
    text = Path("flat.yaml").read_text()
    assert text.startswith("# TI-DPO as the house uses it.\n# from house:tidpo.yaml@1.2\n")
    assert "extends" not in text
    assert load_recipe("flat.yaml").recipe == load_recipe("house:tidpo").recipe


def test_a_copy_of_a_file_names_it_from_where_it_is(project, alignkit):
    Path("a.yaml").write_text("# A.\nextends: alignkit:tidpo.yaml\n")
    Path("sub").mkdir()
    assert alignkit("copy", "a.yaml", "sub/b.yaml")[0] == 0
    assert "extends: ../a.yaml\n" in Path("sub/b.yaml").read_text()
    assert load_recipe("sub/b.yaml").recipe == load_recipe("a.yaml").recipe


def test_an_author_is_told_what_others_would_meet(house, alignkit):
    (house / "headless.yaml").write_text("extends: tidpo.yaml\n")
    (house / "wrong.yaml").write_text("# W.\nextends: tidpo.yaml\nweighting: {name: hybrid, mixx: 0.5}\n")
    (house / "place.yaml").write_text("# P.\nextends: tidpo.yaml\ndata.train: path:hh\n~data.world:\n")
    (house / "lost.yaml").write_text("# L.\nextends: beta:x.yaml\n")
    code, told, _ = alignkit("library", "check", str(house), "--no-smoke")
    lines = told.splitlines()
    assert code == 1
    assert lines[0] == f"ok: {house}/library.toml"
    assert "error: house:headless.yaml: has no head; begin it with a comment that says what it is for" in lines
    assert any(
        line.startswith("error: house:wrong.yaml: house:wrong.yaml:3: weighting.mixx: unknown key") for line in lines
    )
    assert any(line.startswith("note: house:place.yaml: house:place.yaml:3: data.train: 'path:hh'") for line in lines)
    assert any(line.startswith("error: house:lost.yaml: house:lost.yaml:2: extends: no") for line in lines)
    assert "ok: house:base/hh.yaml: a base: has no losses, trainer" in lines
    assert "ok: house:tidpo.yaml" in lines


@pytest.mark.slow
def test_two_steps_on_the_world_find_what_reading_does_not(house, alignkit):
    for name in ("old.yaml", "base/hh.yaml"):
        (house / name).unlink()
    (house / "tidpo.yaml").write_text(
        "# T.\nextends: alignkit:tidpo.yaml\nmodel: {name: pretrained, path: owner/model}\n"
    )
    (house / "two.yaml").write_text(
        "# Two.\nextends: alignkit:base/world.yaml\nstages:\n  a: {losses: [sft], trainer: sft}\n"
        "  b: {extends: tidpo.yaml, model.path: 'stage:a'}\n"
    )
    (house / "column.yaml").write_text("# C.\nextends: tidpo.yaml\npair_weighting: {name: column, column: worth}\n")
    code, told, _ = alignkit("library", "check", str(house))
    assert code == 0
    (_, column, tidpo, two) = told.splitlines()
    assert column.startswith(
        "note: house:column.yaml: not run: the built-in world is not its data: builtin:world: no column 'worth'"
    )
    assert tidpo == "ok: house:tidpo.yaml: ran two steps"
    assert two == "ok: house:two.yaml: ran two steps"


def test_a_run_records_the_libraries_that_it_was_put_together_from(house, alignkit):
    settings = [word for one in (*SMOKE, "training.steps=1") for word in ("--set", one)]
    assert alignkit("run", "house:tidpo", "--output", "out", *settings)[0] == 0
    record = json.loads(Path("out/run.json").read_text())
    assert record["libraries"] == {"house": Libraries.here().version("house")}
    assert "# alignkit:tidpo.yaml:5" in Path("out/recipe.yaml").read_text()


def test_needs_of_a_pipeline_are_those_of_its_stages(house, alignkit):
    (house / "two.yaml").write_text(
        "# Two.\nextends: alignkit:base/world.yaml\nmodel: {name: pretrained}\nstages:\n"
        "  a: {losses: [sft], trainer: sft, model.path: owner/m}\n"
        "  b: {extends: alignkit:tidpo.yaml, model.path: 'stage:a', data.train: owner/pairs}\n"
    )
    assert alignkit("library", "update")[0] == 0
    found = json.loads(alignkit("recipes", "house:two", "--json")[1])
    assert found[0]["needs"] == "model owner/m, data owner/pairs"


def test_data_of_a_library_is_recorded_with_its_version(house, alignkit):
    (house / "d.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    assert alignkit("library", "update")[0] == 0
    Path("mine.yaml").write_text("extends: alignkit:tidpo.yaml\ndata: {train: 'house:d.jsonl', world: null}\n")
    assert load_recipe("mine.yaml").libraries == {"house": Libraries.here().version("house")}


@pytest.mark.parametrize("given", ["path:hh//etc/passwd", "path:hh/C:/x", "path:hh/../x"])
def test_a_name_of_this_machine_leads_down_only(house, alignkit, given):
    Path("alignkit.toml").write_text(f"{Path('alignkit.toml').read_text()}[paths]\nhh = '/data'\n")
    said = f"'{given}': what follows the name goes down from it, without '..' or a second '/'"
    setting = f"data.train={given}"
    told = alignkit("show", "alignkit:tidpo", "--set", "data.world=null", "--set", setting)
    assert told == (2, "", f"--set {setting}: data.train: {said}\n")


def test_a_name_too_long_for_a_file_is_one_line(house, alignkit):
    long = "a" * 300
    Path("long.yaml").write_text(f"extends: house:{long}\n")
    settings = ("--set", f"data.train=house:{long}", "--set", "data.world=null")
    for arguments in (("long.yaml",), (f"house:{long}",), ("alignkit:tidpo", *settings)):
        code, _, errors = alignkit("validate", *arguments)
        assert (code, errors.count("\n"), "no " in errors) == (2, 1, True)


def test_an_author_is_told_of_plugins_that_others_would_not_know(house, alignkit, monkeypatch):
    found = {"/mine/words.py": "sha256:00", "acme_weights": "1.3", "pytest": "9", "packaging": "25"}
    monkeypatch.setattr(LoadedRecipe, "plugins", property(lambda _: found))
    (house / "tidpo.yaml").write_text("# T.\nrequires: packaging\nextends: alignkit:tidpo.yaml\n")
    (house / "library.toml").write_text(f'{HEAD}plugins = ["PyTest>1"]\n')
    code, told, _ = alignkit("library", "check", str(house), "--no-smoke")
    assert code == 1
    assert [line for line in told.splitlines() if "house:tidpo.yaml: needs" in line] == [
        "error: house:tidpo.yaml: needs /mine/words.py, which only this machine has; share it as a package, and name "
        "that in library.toml",
        "error: house:tidpo.yaml: needs the package acme_weights; name it under plugins of library.toml",
    ]


def test_a_flat_copy_requires_what_the_recipe_did(house, alignkit):
    Path("a.yaml").write_text("# A.\nrequires: [pytest, packaging>1]\nextends: alignkit:tidpo.yaml\n")
    Path("b.yaml").write_text("# B.\nrequires: pytest\nextends: a.yaml\n")
    assert alignkit("copy", "b.yaml", "flat.yaml", "--flat")[0] == 0
    assert 'requires:\n  - pytest\n  - "packaging>1"\n' in Path("flat.yaml").read_text()
    assert load_recipe("flat.yaml").recipe == load_recipe("b.yaml").recipe


def test_a_mark_of_byte_order_hides_no_purpose(house, alignkit):
    (house / "tidpo.yaml").write_bytes(b"\xef\xbb\xbf# Marked.\r\nextends: alignkit:tidpo.yaml\r\n")
    assert alignkit("library", "update")[0] == 0
    assert json.loads(alignkit("recipes", "house:tidpo", "--json")[1])[0]["purpose"] == "Marked."
