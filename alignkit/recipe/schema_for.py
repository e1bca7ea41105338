"""The JSON Schema for one recipe on this machine: with installed plugins, libraries, and the paths into what it has."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

from alignkit.libraries.known import Libraries
from alignkit.recipe.composing import REMOVE
from alignkit.recipe.files import read_recipe_tree
from alignkit.recipe.header import EXTENDS_KEY
from alignkit.recipe.kinds import KINDS
from alignkit.recipe.libraries import recipe_names
from alignkit.recipe.parts import Part, parts
from alignkit.recipe.recipe import Recipe
from alignkit.recipe.schema import Schema, recipe_schema
from alignkit.recipe.settings import filled, settings, spellings, written
from alignkit.recipe.tree import Node
from alignkit.registry import RegistryError


def schema_for(recipe: Path) -> tuple[Schema, list[str]]:
    """The schema of recipe files, and one line about each plugin that is not in it.

    Besides what `recipe_schema` describes it completes components of plugins, recipes of libraries after `extends`, and
    dotted keys into what `recipe` has, with what it extends and every default; a typo in those is an error.

    Args:
        recipe: need not be valid, as it is being written.

    Raises:
        RecipeError: the file, or one that it extends, cannot be read.
        LibraryError: alignkit.toml or alignkit.lock cannot be used.
    """
    libraries = Libraries.here()
    given = read_recipe_tree(recipe, libraries, Recipe.model_fields).root
    left_out = list(_plugins_left_out())
    whole, schema = filled(given), recipe_schema()
    properties = schema["properties"]
    known = {"type": "string", "examples": [one for name in libraries.names for one in recipe_names(name, libraries)]}
    properties[EXTENDS_KEY]["anyOf"] = [known, {"type": "array", "items": known}]
    for part in parts(Recipe, whole):
        if part.registry and len(part.path) == 1 and (defined := _definition(part)) in schema["$defs"]:
            properties[part.path[0]] = _first(properties[part.path[0]], defined)
    schema["patternProperties"] = {**dict(_refused(whole)), **schema["patternProperties"]}
    schema["properties"] = {**properties, **dict(_set(whole, schema["$defs"])), **dict(_removed(given))}
    return schema, left_out


def _plugins_left_out() -> Iterator[str]:
    """Loads every component there is; what a plugin prints meanwhile is no part of the schema."""
    for registry in KINDS.values():
        for name in registry.names():
            try:
                with redirect_stdout(sys.stderr):
                    registry.get(name)
            except RegistryError as error:
                yield str(error)


def _first(slot: Schema, component: str) -> Schema:
    """A slot with the component that the recipe has first: it is meant where no name is given."""
    rest = {key: value for key, value in slot.items() if key != "$ref"}
    return {**rest, "anyOf": [{"$ref": f"#/$defs/{component}"}, {"$ref": slot["$ref"]}]}


def _definition(part: Part) -> str:
    """What the schema calls the mapping of a part."""
    if part.registry is None:
        return part.cls.__name__
    names = (name for name, cls in part.registry.classes().items() if cls is part.cls)
    return f"{part.registry.kind}.{next(names, '')}"


def _set(whole: Node, definitions: Schema) -> Iterator[tuple[str, Schema]]:
    """Dotted key -> what may stand there, by reference."""
    for setting in settings(whole):
        defined = _definition(setting.part)
        if defined in definitions:
            for path in setting.paths:
                yield path, {"$ref": f"#/$defs/{defined}/properties/{setting.key}"}


def _removed(given: Node) -> Iterator[tuple[str, Schema]]:
    """`~path` of whatever the recipe and the files below it give."""
    for path in written(given):
        (spelled, *_) = spellings(given, path)
        if path[-1] != "name":
            yield f"{REMOVE}{spelled}", {"type": "null", "description": f"Takes away what is inherited as `{spelled}`."}


def _refused(whole: Node) -> Iterator[tuple[str, bool]]:
    """Patterns of dotted keys that do not exist, below what stays as it is: a section, a named item of a list."""
    for part in parts(Recipe, whole):
        (path, *_) = spellings(whole, part.path)
        is_item = bool(part.path) and isinstance(part.path[-1], int) and not path.rpartition(".")[2].isdigit()
        if is_item or (part.path and part.registry is None):
            start = path.replace(".", r"\.")
            yield rf"^{start}\.(?!({'|'.join(part.keys)})(\.|$))", False
