"""What a file says of itself: the schema that it is written for, and that another one should be used in its place."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from alignkit.cli import main
from alignkit.errors import RecipeError
from alignkit.recipe.load import load_recipe
from alignkit.report.start import show_begun

RECIPE = "model: world\ndata: {train: 'builtin:world'}\nlosses: [dpo]\ntrainer: preference\n"
OLD = f"deprecated: use acme:dpo/base-8b\n{RECIPE}"
NOTE = "old.yaml:1: deprecated: use acme:dpo/base-8b"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("old.yaml").write_text(OLD)


def complaint(text, *overrides):
    Path("r.yaml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe("r.yaml", overrides)
    return str(caught.value)


def test_the_header_is_no_part_of_the_recipe():
    Path("r.yaml").write_text(f"schema: 1\n{RECIPE}")
    Path("plain.yaml").write_text(RECIPE)
    loaded = load_recipe("r.yaml")
    assert (loaded.recipe, loaded.notes) == (load_recipe("plain.yaml").recipe, ())
    assert not {"schema", "deprecated"} & {*load_recipe("old.yaml").tree()}


def test_of_a_later_schema_nothing_else_is_judged():
    said = "r.yaml:2: schema: written for schema 2, this alignkit reads 1; install a newer alignkit"
    assert complaint("seed: -1\nschema: 2\nlater: 3\n") == said
    Path("later.yaml").write_text("schema: 10\n")
    assert complaint("extends: later.yaml\nseed: -1\n") == said.replace("r.yaml:2", "later.yaml:1").replace(" 2", " 10")


@pytest.mark.parametrize("given", ["0", "-1", "true", "1.0", "'1'", "null", "[1]"])
def test_a_schema_is_a_whole_number(given):
    said = {"null": "None"}.get(given, given.title() if given == "true" else given)
    assert (
        complaint(f"{RECIPE}schema: {given}\n") == f"r.yaml:5: schema: expected a whole number from 1 to 1, got {said}"
    )


@pytest.mark.parametrize(("given", "said"), [("null", "None"), ("' '", "' '"), ("true", "True"), ("[a]", "['a']")])
def test_a_deprecation_says_what_to_use(given, said):
    expected = f"r.yaml:5: deprecated: expected a text that says what to use instead, got {said}"
    assert complaint(f"{RECIPE}deprecated: {given}\n") == expected


def test_a_header_stands_in_a_file():
    assert complaint(RECIPE, "schema=1") == "--set schema=1: 'schema' can only stand in a recipe file"


def test_whoever_extends_a_deprecated_recipe_is_told_once():
    Path("one.yaml").write_text("extends: old.yaml\n")
    Path("r.yaml").write_text("extends: [one.yaml, old.yaml]\ndeprecated: use s.yaml\n")
    assert load_recipe("r.yaml").notes == ("r.yaml:2: deprecated: use s.yaml", NOTE)


@pytest.mark.parametrize(
    ("arguments", "code"), [("validate r.yaml old.yaml", 0), ("show r.yaml", 0), ("diff r.yaml old.yaml", 1)]
)
def test_the_command_line_tells_it_beside_its_output(capsys, arguments, code):
    Path("r.yaml").write_text("extends: old.yaml\nseed: 3\n")
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    out, err = capsys.readouterr()
    assert (caught.value.code, err) == (code, f"note: {NOTE}\n")
    assert "deprecated" not in out


def test_a_run_tells_it_where_it_begins():
    console = Console(width=100, color_system=None, file=io.StringIO())
    show_begun(console, load_recipe("old.yaml"), "runs/x")
    assert console.file.getvalue().splitlines()[-1] == f"        {NOTE}"
