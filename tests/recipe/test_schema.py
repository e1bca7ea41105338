"""The JSON Schema: whole, closed, and explained in the docstrings' words."""

from __future__ import annotations

import json

import pytest

from alignkit.recipe.describe import about
from alignkit.recipe.kinds import KINDS
from alignkit.recipe.schema import recipe_schema
from alignkit.registry import SLOT


@pytest.fixture(scope="module")
def schema():
    return json.loads(json.dumps(recipe_schema()))


def nodes(value, key=""):
    """Every mapping in the schema, with the key it stands under."""
    if isinstance(value, dict):
        yield key, value
        for name, item in value.items():
            yield from nodes(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from nodes(item, key)


def test_every_reference_has_a_definition_and_every_definition_a_reference(schema):
    used = {node["$ref"].removeprefix("#/$defs/") for _, node in nodes(schema) if "$ref" in node}
    assert used == set(schema["$defs"])
    assert not [node for _, node in nodes(schema) if SLOT in node]


def test_a_slot_is_a_bare_name_or_one_of_its_components(schema):
    for kind, registry in KINDS.items():
        names, *members = schema["$defs"][kind]["anyOf"]
        assert (names["type"], names["enum"]) == ("string", registry.names())
        assert names["enumDescriptions"] == [about(registry, name) for name in registry.names()]
        assert [member["$ref"] for member in members] == [f"#/$defs/{kind}.{name}" for name in registry.names()]
        for name in registry.names():
            assert schema["$defs"][f"{kind}.{name}"]["properties"]["name"]["const"] == name


def test_mappings_are_closed_and_nothing_is_required(schema):
    for key, node in nodes(schema):
        if node.get("type") == "object" and key != "properties":
            # Names of columns are the data's, those of tasks and of their splits lm-evaluation-harness'.
            names = {"type": "string"}
            assert node["additionalProperties"] in (False, names, {"type": "object", "additionalProperties": names})
            assert "required" not in node


def test_fields_carry_their_docstrings_and_bounds(schema):
    assert schema["$defs"]["TrainingConfig"]["properties"]["steps"]["description"].startswith("Optimizer steps")
    beta = schema["$defs"]["loss.dpo"]["properties"]["beta"]
    assert (beta["type"], beta["exclusiveMinimum"], beta["default"]) == ("number", 0, 0.1)
    assert schema["properties"]["losses"]["items"] == {"$ref": "#/$defs/loss"}
    assert schema["$defs"]["weighting.hybrid"]["properties"]["gradient"]["$ref"] == "#/$defs/weighting"
    every = [field for _, node in nodes(schema) for field in node.get("properties", {}).values()]
    assert all("description" in field or "$ref" in field for field in every)  # or the definition has it


def test_files_may_extend_and_name_their_schema(schema):
    assert list(schema["properties"])[:5] == ["$schema", "schema", "deprecated", "requires", "extends"]
