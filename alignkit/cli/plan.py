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
    import alignkit.recipe.load as load
else:
    consoles = LazyModule("rich.console")
    displays = LazyModule("alignkit.progress.display")
    load = LazyModule("alignkit.recipe.load")
    plans = LazyModule("alignkit.plan.plan")
    quieting = LazyModule("alignkit.quiet")
    showing = LazyModule("alignkit.plan.show")


def plan(
    recipe: RecipeFile,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON and nothing else.")] = False,
) -> None:
    """Tell what a run will take: lengths, truncation, steps, parameters, peak memory, time. Reads no weights."""
    loaded = load.load_recipe(recipe, overrides or ())
    tell(loaded)
    console = consoles.Console(quiet=as_json)
    with quieting.quiet_libraries(), displays.showing(displays.Display(console)):
        planned = plans.make_plan(loaded)
    if as_json:
        typer.echo(json.dumps(planned.plan.as_json(), indent=2))
    else:
        showing.show(console, planned)
