"""`alignkit doctor`: what is wrong with a recipe's data."""

from __future__ import annotations

import json
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
    import alignkit.recipe.pipeline as pipelines
    import alignkit.report.findings as reports
else:
    checkup = LazyModule("alignkit.checkup")
    consoles = LazyModule("rich.console")
    pipelines = LazyModule("alignkit.recipe.pipeline")
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

    Nothing is changed. A pipeline is checked stage by stage. Exit code 1 when there is a finding of the level that
    fails, 2 when nothing can be checked.
    """
    loaded = pipelines.load(recipe, overrides or ())
    tell(loaded)
    stages = pipelines.before_any(loaded)
    found = {name: checkup.check_up(stage, against or (), with_model=with_model) for name, stage in stages.items()}
    told = {}
    for name, one in found.items():
        called = f"{recipe}, stage {name}" if name else str(recipe)
        if as_json:
            told[name] = one.diagnosis.as_json(recipe=called, pair=None if one.pair is None else one.pair.plain)
        else:
            reports.show_findings(consoles.Console(), called, one.diagnosis, one.pair)
    if as_json:
        typer.echo(json.dumps(told.get("") or {"stages": told}, indent=2))
    if any(one.diagnosis.has(fail_on.value) for one in found.values()):
        raise typer.Exit(1)
