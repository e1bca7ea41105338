"""The schema for one recipe: plugins, libraries, and the dotted keys into what it extends."""

from __future__ import annotations

import json
import re
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from alignkit import entry_points
from alignkit.cli import main
from alignkit.recipe.schema import recipe_schema
from alignkit.recipe.schema_for import schema_for
from alignkit.weighting import weightings

BASE = """\
model: world
data: {train: "builtin:world", max_rows: 100}
weighting: {name: hybrid, prior: prior}
losses: [dpo, {name: triplet, anchor: sample_prompt}, dpo]
trainer: preference
"""
PLUGIN = """\
print("hello from a plugin")

from alignkit.weighting.prior import Prior


class Dented(Prior):
    \"\"\"A prior with a dent. And more.\"\"\"

    depth: float = 0.5
    \"\"\"How deep.\"\"\"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE)
    Path("r.yaml").write_text("extends: base.yaml\nlosses.triplet.margin: 0.1\n")


@pytest.fixture
def plugins(monkeypatch, tmp_path):
    """Two plugins, of which one cannot be loaded."""
    (tmp_path / "dented_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    found = [
        EntryPoint("dented", "dented_plugin:Dented", "alignkit.weighting"),
        EntryPoint("gone", "no_such_module:Loss", "alignkit.loss"),
    ]
    monkeypatch.setattr(entry_points, "_scanned", lambda: (found, []))
    yield
    weightings._classes.pop("dented", None)


def resolved(schema, node):
    """What a property's reference leads to."""
    for step in node["$ref"].removeprefix("#/").split("/"):
        schema = schema[step]
    return schema


def test_dotted_keys_lead_to_their_types_and_descriptions():
    schema, _ = schema_for(Path("r.yaml"))
    margin = resolved(schema, schema["properties"]["losses.triplet.margin"])
    assert (margin["type"], margin["minimum"], margin["default"]) == ("number", 0, 0.01)
    assert margin["description"].startswith("How much nearer the anchor must be")
    for key in ("losses.1.margin", "losses.triplet.anchor.max_new_tokens", "weighting.prior.shape", "training.steps"):
        assert "description" in resolved(schema, schema["properties"][key]), key
    assert "losses.0.beta" in schema["properties"]
    assert "losses.dpo.beta" not in schema["properties"]  # two are called so


def test_what_is_given_can_be_taken_away():
    properties = schema_for(Path("r.yaml"))[0]["properties"]
    removals = {key for key in properties if key.startswith("~")}
    assert {"~losses.triplet", "~losses.0", "~data.max_rows", "~weighting.prior"} <= removals
    assert "~training.steps" not in removals


@pytest.mark.parametrize(
    ("key", "fits"),
    [
        ("losses.triplet.margin", True),
        ("losses.triplet.margn", False),
        ("losses.triplet.anchor.top_k", True),
        ("losses.1.margn", True),  # by the time, another loss may stand there
        ("losses.kto.margn", True),
        ("training.steps", True),
        ("training.stepz", False),
        ("training.steps_too", False),
        ("data.world.topics", True),
        ("data.world.topic", False),
    ],
)
def test_a_typo_in_a_dotted_key_is_none_of_ours(key, fits):
    patterns = schema_for(Path("r.yaml"))[0]["patternProperties"]
    assert all(patterns[pattern] is not False for pattern in patterns if re.search(pattern, key)) == fits


def test_a_slot_is_first_what_the_recipe_has_there():
    schema, _ = schema_for(Path("r.yaml"))
    assert schema["properties"]["weighting"]["anyOf"] == [
        {"$ref": "#/$defs/weighting.hybrid"},
        {"$ref": "#/$defs/weighting"},
    ]


def test_libraries_complete_what_is_extended():
    one, several = schema_for(Path("r.yaml"))[0]["properties"]["extends"]["anyOf"]
    assert "alignkit:base/world.yaml" in one["examples"] and one["type"] == "string"
    assert several == {"type": "array", "items": one}


def test_plugins_are_in_it_as_far_as_they_can_be_loaded(plugins, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["schema", "--for", "r.yaml"])
    out, err = capsys.readouterr()
    schema = json.loads(out)
    assert caught.value.code == 0
    assert schema["$defs"]["weighting.dented"]["properties"]["depth"]["description"] == "How deep."
    bare = schema["$defs"]["weighting"]["anyOf"][0]
    assert dict(zip(bare["enum"], bare["enumDescriptions"], strict=True))["dented"] == "A prior with a dent."
    assert err.splitlines() == [
        "hello from a plugin",
        "note: not in the schema: plugin loss 'gone' (no_such_module:Loss) cannot be loaded: "
        "No module named 'no_such_module'",
    ]


def test_the_plain_schema_imports_no_plugin(plugins, capsys):
    bare = recipe_schema()["$defs"]["weighting"]["anyOf"][0]
    assert dict(zip(bare["enum"], bare["enumDescriptions"], strict=True))["dented"] == "Plugin dented_plugin:Dented."
    assert capsys.readouterr() == ("", "")


def test_a_recipe_in_the_making_will_do():
    Path("r.yaml").write_text("extends: base.yaml\nseed: -1\nlosses: [triplet, drop]\n")
    properties = schema_for(Path("r.yaml"))[0]["properties"]
    assert "losses.triplet.margin" in properties and "losses.drop.beta" not in properties


def test_a_file_that_cannot_be_read_is_one_line(capsys):
    with pytest.raises(SystemExit):
        main(["schema", "--for", "gone.yaml"])
    assert capsys.readouterr() == ("", "no file 'gone.yaml'; did you mean 'r.yaml'?\n")
