"""What an editor with the real yaml-language-server says in a recipe: completion, hover text, and errors on typos.

The server is installed by npm on the first run; `ALIGNKIT_EDITOR_ENV` says where, by default below the user's cache.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from editor.language_server import VERSION, language_server

from alignkit.recipe.kinds import KINDS
from alignkit.recipe.libraries import is_sweep
from alignkit.recipe.schema import recipe_schema
from alignkit.recipe.schema_for import schema_for

pytestmark = pytest.mark.editor

ROOT = Path(__file__).parents[2]
RECIPES = sorted(path for path in (ROOT / "recipes").rglob("*.yaml") if not is_sweep(path))
OWN = "extends: alignkit:tidpo\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = Path(os.environ.get("ALIGNKIT_EDITOR_ENV") or Path.home() / ".cache" / "alignkit-editor" / VERSION)
    if not (folder / "node_modules").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-fund", "--no-audit", "--prefix", str(folder)]
        subprocess.run([*command, f"yaml-language-server@{VERSION}"], check=True)
    with language_server(folder, tmp_path_factory.mktemp("documents")) as server:
        yield server


def headed(folder, name, schema):
    """A modeline that names the schema, as the first line of a recipe does."""
    file = folder.mktemp(name) / "recipe.schema.json"
    file.write_text(json.dumps(schema))
    return f"# yaml-language-server: $schema={file.as_uri()}\n"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return headed(tmp_path_factory, "plain", recipe_schema())


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The modeline of a recipe that extends TI-DPO, with the schema for it, and the line that extends."""
    recipe = tmp_path_factory.mktemp("own") / "recipe.yaml"
    recipe.write_text(OWN)
    return headed(tmp_path_factory, "own", schema_for(recipe)[0]) + OWN


@pytest.mark.parametrize("text", ["weighting: {name: |}\n", "weighting:\n  name: |\n", "weighting: |\n"])
def test_names_of_components_are_completed_with_what_they_are(server, plain, text):
    found = server.complete(plain + text)
    assert sorted(found) == KINDS["weighting"].names()
    assert found["hybrid"].endswith("Mixture of gradient importance and a prior.")


@pytest.mark.parametrize("first", ["# yaml-language-server: $schema=beside.json", "$schema: beside.json"])
def test_a_schema_beside_the_recipe(server, first):
    (server.folder / "beside.json").write_text(json.dumps(recipe_schema()))
    assert server.diagnose(f"{first}\nsede: 1\n") == [(2, "Property sede is not allowed.")]


def test_in_lists_too(server, plain):
    names = set(KINDS["loss"].names())
    assert set(server.complete(f"{plain}losses:\n  - name: |\n")) == names
    assert set(server.complete(f"{plain}losses: [|]\n")) >= names


def test_keys_of_the_component_that_is_named(server, plain):
    found = server.complete(f"{plain}losses:\n  - name: triplet\n    |\n")
    assert set(found) == {*KINDS["loss"].get("triplet").model_fields} - {"name"}
    assert found["margin"].startswith("How much nearer the anchor must be, squared nats.")


def test_choices_of_a_key(server, plain):
    assert set(server.complete(f"{plain}training:\n  schedule: |\n")) == {"cosine", "linear", "constant"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("training: {wa|rmup: 0.1}\n", "Share of the steps that the learning rate rises over"),
        ("weighting: {name: hyb|rid}\n", "Mixture of gradient importance and a prior."),
        ("weighting: hyb|rid\n", "`hybrid`: Mixture of gradient importance and a prior."),
        ("weigh|ting: {name: hybrid, mix: 0.5}\n", "Paper: arXiv:2505.19653 Eq. 8"),
        ("sch|ema: 1\n", "What the keys of this file are called"),
    ],
)
def test_hover(server, plain, text, said):
    assert said in server.hover(plain + text).replace("\\", "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trainig: {}\n", "Property trainig is not allowed."),
        ("losses: [{name: triplet, margn: 1}]\n", "Property margn is not allowed."),
        ("weighting: {name: uniform, mix: 0.5}\n", "Property mix is not allowed."),
        ("training: {schedule: cosin}\n", 'Value is not accepted. Valid values: "cosine", "linear", "constant".'),
        ("training: {steps: -1}\n", "Value is below the exclusive minimum of 0."),
        ("schema: 2\n", "Value is above the maximum of 1."),
    ],
)
def test_a_typo_is_one_line_at_its_place(server, plain, text, said):
    assert server.diagnose(plain + text) == [(2, said)]


@pytest.mark.parametrize("text", ["weighting: {name: hybird}\n", "weighting: hybird\n"])
def test_an_unknown_component_is_answered_with_all(server, plain, text):
    ((line, said),) = server.diagnose(plain + text)
    assert line == 2 and all(f'"{name}"' in said for name in KINDS["weighting"].names())


def test_every_shipped_recipe_is_fine(server, plain):
    for path in RECIPES:
        assert server.diagnose(plain + path.read_text().replace("yaml-language-server", "")) == [], path


def test_libraries_complete_what_is_extended(server, own):
    found = server.complete(own.replace(OWN, "extends: |\n"))
    assert {"alignkit:tidpo.yaml", "alignkit:base/world.yaml"} <= set(found)


def test_dotted_keys_of_what_is_extended(server, own):
    found = server.complete(f"{own}losses.triplet.|\n")
    assert found["losses.triplet.margin"].startswith("How much nearer the anchor must be")
    assert {"losses.triplet.anchor.max_new_tokens", "weighting.prior.shape", "~losses.triplet"} <= set(found)
    assert set(server.complete(f"{own}losses.triplet.align: |\n")) == {"overlap", "zero_pad", "min3"}
    assert set(server.complete(f"{own}losses.triplet.anchor: |\n")) == set(KINDS["anchor"].names())
    assert "How much nearer" in server.hover(f"{own}losses.trip|let.margin: 0.1\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("losses.triplet.margn: 1\n", "Property losses.triplet.margn is not allowed."),
        ("losses.triplet.margin: -1\n", "Value is below the minimum of 0."),
        ("~losses.triplet: 3\n", 'Incorrect type. Expected "null".'),
        ("weighting: {mx: 0.5}\n", "Property mx is not allowed."),
    ],
)
def test_a_typo_in_what_is_changed(server, own, text, said):
    assert server.diagnose(own + text) == [(3, said)]


def test_what_is_changed_well_is_fine(server, own):
    text = "weighting: {mix: 0.5}\nlosses.triplet.margin: 0.1\nlosses.0.beta: 0.2\ntrainer: sft\n~training.steps:\n"
    assert server.diagnose(own + text) == []
