"""`alignkit schema`: the JSON Schema of recipes, for editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.cli import completion
from alignkit.cli.notes import note
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.recipe.schema as recipe_schemas
    import alignkit.recipe.schema_for as fitted
    import alignkit.sweep.config as sweeps
else:
    recipe_schemas = LazyModule("alignkit.recipe.schema")
    fitted = LazyModule("alignkit.recipe.schema_for")
    sweeps = LazyModule("alignkit.sweep.config")


def schema(
    recipe: Annotated[
        Path | None,
        typer.Option(
            "--for",
            metavar="RECIPE",
            help="The schema for this recipe here: with components of installed plugins, which are imported, recipes "
            "of libraries, and dotted keys into what it extends.",
            autocompletion=completion.recipes,
        ),
    ] = None,
    sweep: Annotated[bool, typer.Option("--sweep", help="The schema of sweep files instead.")] = False,
) -> None:
    """Print the JSON Schema of recipe files; editors complete and explain keys with it."""
    if sweep:
        found = sweeps.sweep_schema()
    elif recipe is None:
        found = recipe_schemas.recipe_schema()
    else:
        found, left_out = fitted.schema_for(recipe)
        note(f"not in the schema: {line}" for line in left_out)
    typer.echo(json.dumps(found, indent=2))
