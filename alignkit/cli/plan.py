"""`alignkit plan`: what a run will take, without reading any weights."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.cli.arguments import Overrides, RecipeFile
from alignkit.cli.notes import tell
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import rich.console as consoles

    import alignkit.plan.plan as plans
    import alignkit.plan.show as showing
    import alignkit.progress.display as displays
    import alignkit.quiet as quieting
    import alignkit.recipe.pipeline as pipelines
else:
    consoles = LazyModule("rich.console")
    displays = LazyModule("alignkit.progress.display")
    pipelines = LazyModule("alignkit.recipe.pipeline")
    plans = LazyModule("alignkit.plan.plan")
    quieting = LazyModule("alignkit.quiet")
    showing = LazyModule("alignkit.plan.show")


def plan(
    recipe: RecipeFile,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON and nothing else.")] = False,
) -> None:
    """Tell what a run will take: lengths, truncation, steps, parameters, peak memory, time. Reads no weights.

    Of a pipeline, for each stage; the result of an earlier one is taken to be like the model that it began with.
    """
    loaded = pipelines.load(recipe, overrides or ())
    tell(loaded)
    console = consoles.Console(quiet=as_json)
    found = {}
    for name, stage in pipelines.before_any(loaded).items():
        if name:
            console.print(f"stage {name}", style="bold")
        with quieting.quiet_libraries(), displays.showing(displays.Display(console)):
            planned = plans.make_plan(stage)
        found[name] = planned.plan.as_json()
        if not as_json:
            showing.show(console, planned)
    if as_json:
        typer.echo(json.dumps(found.get("") or {"stages": found}, indent=2))
