"""`alignkit doctor`: what is wrong with a recipe's data."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.cli.arguments import Overrides, RecipeFile
from alignkit.cli.notes import tell
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import rich.console as consoles

    import alignkit.checkup as checkup
    import alignkit.recipe.load as load
    import alignkit.report.findings as reports
else:
    checkup = LazyModule("alignkit.checkup")
    consoles = LazyModule("rich.console")
    load = LazyModule("alignkit.recipe.load")
    reports = LazyModule("alignkit.report.findings")


class FailOn(StrEnum):
    """The least bad finding that fails."""

    error = "error"
    warn = "warn"


def doctor(
    recipe: RecipeFile,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    fail_on: Annotated[FailOn, typer.Option("--fail-on", help="The least bad finding that fails.")] = FailOn.error,
    with_model: Annotated[bool, typer.Option("--model", help="Load the model too, and ask it.")] = False,
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A test set that must not be trained on; may be given repeatedly."),
    ] = None,
) -> None:
    """Check the data of a recipe before training: bad rows, duplicates, leakage, bias, tokens.

    Nothing is changed. Exit code 1 when there is a finding of the level that fails, 2 when nothing can be checked.
    """
    loaded = load.load_recipe(recipe, overrides or ())
    tell(loaded)
    found = checkup.check_up(loaded, against or (), with_model=with_model)
    if as_json:
        shown = None if found.pair is None else found.pair.plain
        typer.echo(found.diagnosis.to_json(recipe=str(recipe), pair=shown))
    else:
        reports.show_findings(consoles.Console(), str(recipe), found.diagnosis, found.pair)
    if found.diagnosis.has(fail_on.value):
        raise typer.Exit(1)
