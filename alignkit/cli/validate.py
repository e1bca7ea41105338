"""`alignkit validate`: all problems of recipes and what they name on this machine, without loading a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.cli import completion
from alignkit.cli.arguments import Overrides
from alignkit.cli.notes import tell
from alignkit.errors import LINE_LENGTH, RecipeError, printable
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.recipe.local as local
    import alignkit.recipe.pipeline as pipelines
    from alignkit.recipe.load import LoadedRecipe
    from alignkit.recipe.pipeline import LoadedPipeline
    from alignkit.recipe.recipe import Recipe
else:
    local = LazyModule("alignkit.recipe.local")
    pipelines = LazyModule("alignkit.recipe.pipeline")


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
            loaded = pipelines.load(path, overrides or ())
            read.append(loaded)
            lines = list(_lines(loaded))
        except RecipeError as error:
            problems += error.problems
        else:
            typer.echo("\n".join(f"ok: {printable(str(path))}: {line}" for line in lines))
    tell(*read)
    if problems:
        raise RecipeError(dict.fromkeys(problems))


def _lines(loaded: LoadedRecipe | LoadedPipeline) -> Iterator[str]:
    """What a recipe is, or each of its stages; refused when something that it names here is missing."""
    if isinstance(loaded, pipelines.LoadedPipeline):
        problems = []
        for name, stage in loaded.stages.items():
            results = pipelines.results_of(stage)
            try:
                stage.refuse(misfit for misfit in local.missing(stage.recipe) if misfit[0] not in results)
            except RecipeError as error:
                problems += error.problems
            yield f"stage {name}: {_line(stage)}"
        if problems:
            raise RecipeError(problems)
    else:
        loaded.refuse(local.missing(loaded.recipe))
        yield _line(loaded)


def _line(loaded: LoadedRecipe) -> str:
    others = local.not_looked_at(loaded.recipe)
    unseen = f" (not looked at: {', '.join(others)})" if others else ""
    return f"{printable(summary(loaded.recipe), LINE_LENGTH)}{unseen}"


def summary(recipe: Recipe) -> str:
    """The parts of a recipe in one line."""
    losses = " + ".join(
        loss.name if loss.coefficient == 1 else f"{loss.coefficient:g} {loss.name}" for loss in recipe.losses
    )
    parts = (recipe.trainer.name, losses, recipe.weighting.name, recipe.model.name, recipe.data.labels[0])
    labels = ("trainer", "losses", "weighting", "model", "data")
    return ", ".join(f"{label} {part}" for label, part in zip(labels, parts, strict=True))
