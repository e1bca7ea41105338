"""`alignkit schema`: the JSON Schema of recipes, for editors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.recipe.schema as recipe_schemas
else:
    recipe_schemas = LazyModule("alignkit.recipe.schema")


def schema() -> None:
    """Print the JSON Schema of recipe files; editors complete and explain keys with it."""
    typer.echo(json.dumps(recipe_schemas.recipe_schema(), indent=2))
