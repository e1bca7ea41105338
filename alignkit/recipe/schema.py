"""The JSON Schema of a recipe: completion and hover text in editors."""

from __future__ import annotations

from typing import Any

from alignkit.recipe.composing import REMOVE
from alignkit.recipe.describe import about
from alignkit.recipe.header import DEPRECATED_KEY, EXTENDS_KEY, REQUIRES_KEY, SCHEMA, SCHEMA_KEY, VERSION_KEY
from alignkit.recipe.kinds import KINDS
from alignkit.recipe.recipe import Recipe
from alignkit.recipe.stages import MAX_STAGES, NAME, STAGES_KEY
from alignkit.registry import SLOT, Registry

Schema = dict[str, Any]


def recipe_schema() -> Schema:
    """JSON Schema (draft 2020-12) of a recipe file.

    It describes what may be written, so nothing is required: a file may take any of it from what it `extends`.
    """
    definitions: Schema = {}
    root = _lifted(Recipe.model_json_schema(), definitions)
    for kind, registry in KINDS.items():
        definitions[kind] = _slot(registry, definitions)
    properties = root["properties"]
    header = _header()
    root["properties"] = {
        **header,
        **properties,
        STAGES_KEY: {
            "type": "object",
            "description": "Recipes that run one after the other: name -> what it says besides the keys at the top, "
            "which all share. `path: stage:NAME` of a pretrained model is the result of an earlier one.",
            "maxProperties": MAX_STAGES,
            "patternProperties": {f"^{NAME}$": {"$ref": "#/$defs/stage"}},
            "additionalProperties": False,
        },
    }
    root["patternProperties"] = {
        rf"^{REMOVE}": {
            "type": "null",
            "description": "Takes away what is inherited: `~losses.triplet:`.",
        },
        r"^[^~].*\.": {"description": "Sets one value: `losses.0.beta: 0.2`, `losses.triplet.margin: 1.0`."},
    }
    definitions["stage"] = {
        "type": "object",
        "title": "stage",
        "description": "What one stage says besides what all stages share; any key of a recipe.",
        "properties": {EXTENDS_KEY: header[EXTENDS_KEY], **properties},
        "patternProperties": root["patternProperties"],
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def _header() -> Schema:
    """The keys at the top of a file that say how to read it."""
    names = {"type": "string"}
    return {
        SCHEMA_KEY: {"type": "string", "description": "Where editors find this schema."},
        VERSION_KEY: {
            "type": "integer",
            "minimum": 1,
            "maximum": SCHEMA,
            "default": 1,
            "description": "What the keys of this file are called; `alignkit migrate` brings an older file up to date.",
        },
        DEPRECATED_KEY: {
            "type": "string",
            "description": "What to use in place of this recipe; told to whoever runs, checks or extends it.",
        },
        REQUIRES_KEY: {
            "anyOf": [names, {"type": "array", "items": names}],
            "description": "Plugin packages that must be there, such as `acme-weights>=1.2`; never installed for you.",
        },
        EXTENDS_KEY: {
            "anyOf": [names, {"type": "array", "items": names}],
            "description": "Recipe files that this one is merged onto, relative to it; later ones win.",
        },
    }


def _slot(registry: Registry[Any], definitions: Schema) -> Schema:
    """A bare name, or a mapping of one component's parameters."""
    components = []
    for name, cls in registry.classes().items():
        schema = _lifted(cls.model_json_schema(), definitions)
        # A constant, as editors join those of all components into one message; and its description stands beside the
        # value and, as long as no value is there, beside the key.
        said = f"Names the {registry.kind} `{name}`: {about(registry, name)}"
        schema["properties"]["name"] = {"const": name, "description": said}
        definitions[f"{registry.kind}.{name}"] = schema | {"title": name}
        components.append({"$ref": f"#/$defs/{registry.kind}.{name}"})
    names = registry.names()
    bare = {"enum": names, "enumDescriptions": [about(registry, name) for name in names], "type": "string"}
    return {"anyOf": [bare, *components]}


def _lifted(schema: Schema, definitions: Schema) -> Schema:
    """`schema` with its own definitions moved to the common ones and slots turned into references."""
    definitions.update({name: _resolved(inner) for name, inner in schema.pop("$defs", {}).items()})
    resolved: Schema = _resolved(schema)
    return resolved


def _resolved(value: Any) -> Any:  # noqa: ANN401 -- any piece of a schema
    if isinstance(value, dict):
        rest = {key: _resolved(item) for key, item in value.items() if key not in (SLOT, "required")}
        return {"$ref": f"#/$defs/{value[SLOT]}", **rest} if SLOT in value else rest
    return [_resolved(item) for item in value] if isinstance(value, list) else value
