"""A team's library where a recipe is written: after Tab, in the schema for a recipe, and when that is migrated."""

from __future__ import annotations

import json
from pathlib import Path

from alignkit.cli import completion


def test_tab_offers_it(locked):
    assert completion.libraries("") == [("alignkit", ""), ("acme", "")]
    assert completion.recipes("ac") == [("acme:base.yaml", ""), ("acme:tidpo.yaml", "")]
    assert completion.recipes("acme:t") == [("acme:tidpo.yaml", "")]
    assert completion.recipes("nobody:") == []


def test_the_schema_for_a_recipe_knows_it(locked, alignkit):
    Path("r.yaml").write_text("extends: acme:tidpo\n")
    code, out, err = alignkit("schema", "--for", "r.yaml")
    properties = json.loads(out)["properties"]
    assert (code, err) == (0, "")
    assert "acme:tidpo.yaml" in properties["extends"]["anyOf"][0]["examples"]
    assert "weighting.mix" in properties and "~losses.dpo" in properties


def test_what_extends_it_is_migrated_and_itself_where_it_is_made(locked, acme, alignkit):
    Path("r.yaml").write_text("extends: acme:tidpo\n")
    assert alignkit("migrate", "r.yaml") == (0, "r.yaml: schema: 1\n", "")
    assert Path("r.yaml").read_text() == "schema: 1\nextends: acme:tidpo\n"
    said = "acme:tidpo: is a library's, and migrated where that is made\n"
    assert alignkit("migrate", "acme:tidpo") == (2, "", said)
    code, out, err = alignkit("migrate", "--check", str(acme.folder / "tidpo.yaml"))
    assert (code, err) == (1, "") and "+schema: 1" in out.splitlines()


def test_a_library_that_is_not_here_is_left_out(locked, alignkit):
    Path("r.yaml").write_text("extends: alignkit:tidpo\n")
    Path("alignkit.lock").unlink()
    code, out, err = alignkit("schema", "--for", "r.yaml")
    examples = json.loads(out)["properties"]["extends"]["anyOf"][0]["examples"]
    assert (code, err) == (0, "") and not any(name.startswith("acme") for name in examples)
    assert completion.recipes("acme:") == []
