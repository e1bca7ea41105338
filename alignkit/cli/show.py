"""`alignkit show`: a recipe with everything it extends and every default filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.cli.arguments import Overrides, RecipeFile
from alignkit.cli.notes import tell
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.recipe.pipeline as load
else:
    load = LazyModule("alignkit.recipe.pipeline")


def show(
    recipe: RecipeFile,
    overrides: Overrides = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say beside each value who set it.")] = False,
) -> None:
    """Print a recipe whole: what it extends merged in, defaults filled in."""
    loaded = load.load(recipe, overrides or ())
    tell(loaded)
    typer.echo(loaded.to_yaml(origin), nl=False)
