"""`alignkit validate`: all problems of recipes, without loading a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.cli.arguments import Overrides
from alignkit.errors import RecipeError
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.recipe.load as load
    from alignkit.recipe.recipe import Recipe
else:
    load = LazyModule("alignkit.recipe.load")


def validate(
    recipes: Annotated[list[Path], typer.Argument(metavar="RECIPE...", help="Recipe files (YAML).")],
    overrides: Overrides = None,
) -> None:
    """Check recipes and report every problem with its file and line; exit code 2 when there is one."""
    problems = []
    for path in recipes:
        try:
            recipe = load.load_recipe(path, overrides or ()).recipe
        except RecipeError as error:
            problems += error.problems
        else:
            typer.echo(f"ok: {path}: {summary(recipe)}")
    if problems:
        raise RecipeError(dict.fromkeys(problems))


def summary(recipe: Recipe) -> str:
    """The parts of a recipe in one line."""
    losses = " + ".join(
        loss.name if loss.coefficient == 1 else f"{loss.coefficient:g} {loss.name}" for loss in recipe.losses
    )
    parts = (recipe.trainer.name, losses, recipe.weighting.name, recipe.model.name, recipe.data.train)
    labels = ("trainer", "losses", "weighting", "model", "data")
    return ", ".join(f"{label} {part}" for label, part in zip(labels, parts, strict=True))
