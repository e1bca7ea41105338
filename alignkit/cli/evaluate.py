"""`alignkit evaluate`: a model measured by the evaluation of a recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.cli.arguments import ExecuteCode, Overrides, RecipeFile, WithoutSandbox, leave
from alignkit.cli.run import refuse_output
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.evaluating as evaluating
    import alignkit.loop.processes as processes
    import alignkit.recipe.load as load
    import alignkit.rewards.permission as permissions
else:
    evaluating = LazyModule("alignkit.evaluating")
    load = LazyModule("alignkit.recipe.load")
    permissions = LazyModule("alignkit.rewards.permission")
    processes = LazyModule("alignkit.loop.processes")


def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL_OR_RUN", help="A run, a model folder, a GGUF file or a Hub id.")
    ],
    recipe: RecipeFile,
    overrides: Overrides = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for the results, also to go on; by default one below evaluations/."),
    ] = None,
    execute_code: ExecuteCode = False,
    without_sandbox: WithoutSandbox = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Measure a model by the benchmarks and held-out data of a recipe; nothing is trained."""
    refuse_output(output)
    with processes.joined(), permissions.granting(leave(execute_code, without_sandbox)):
        found = evaluating.evaluate(model, load.load_recipe(recipe, overrides or ()), output, quiet=as_json)
    if as_json:
        typer.echo(json.dumps(found.record.model_dump(mode="json"), ensure_ascii=False, indent=2))
