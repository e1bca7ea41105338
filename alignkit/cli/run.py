"""`alignkit run`: trains what a recipe says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.cli.arguments import Overrides, RecipeFile
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.recipe.load as load
    import alignkit.run as runs
else:
    load = LazyModule("alignkit.recipe.load")
    runs = LazyModule("alignkit.run")


def run(
    recipe: RecipeFile,
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Run folder; by default a new one under runs/.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run folder's last checkpoint.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop before the first training step.")] = False,
) -> None:
    """Train what a recipe says, and measure before and after."""
    runs.run(load.load_recipe(recipe, overrides or ()), output, resume, dry_run)
