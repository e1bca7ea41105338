"""`alignkit validate`: all problems of recipes and what they name on this machine, without loading a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.cli import completion
from alignkit.cli.arguments import Overrides
from alignkit.cli.notes import tell
from alignkit.errors import LINE_LENGTH, RecipeError, printable
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.recipe.load as load
    import alignkit.recipe.local as local
    from alignkit.recipe.recipe import Recipe
else:
    load = LazyModule("alignkit.recipe.load")
    local = LazyModule("alignkit.recipe.local")


def validate(
    recipes: Annotated[
        list[Path],
        typer.Argument(
            metavar="RECIPE...",
            help="Recipe files (YAML), or alignkit:NAME for shipped ones.",
            autocompletion=completion.recipes,
        ),
    ],
    overrides: Overrides = None,
) -> None:
    """Check recipes and the files they name, report every problem with its file and line; exit code 2 if any.

    Rows, weights and whatever lies elsewhere are not looked at; what that is for each recipe is said.
    """
    problems, read = [], []
    for path in recipes:
        try:
            loaded = load.load_recipe(path, overrides or ())
            read.append(loaded)
            loaded.refuse(local.missing(loaded.recipe))
        except RecipeError as error:
            problems += error.problems
        else:
            others = local.not_looked_at(loaded.recipe)
            unseen = f" (not looked at: {', '.join(others)})" if others else ""
            typer.echo(f"ok: {printable(str(path))}: {printable(summary(loaded.recipe), LINE_LENGTH)}{unseen}")
    tell(*read)
    if problems:
        raise RecipeError(dict.fromkeys(problems))


def summary(recipe: Recipe) -> str:
    """The parts of a recipe in one line."""
    losses = " + ".join(
        loss.name if loss.coefficient == 1 else f"{loss.coefficient:g} {loss.name}" for loss in recipe.losses
    )
    parts = (recipe.trainer.name, losses, recipe.weighting.name, recipe.model.name, recipe.data.labels[0])
    labels = ("trainer", "losses", "weighting", "model", "data")
    return ", ".join(f"{label} {part}" for label, part in zip(labels, parts, strict=True))
