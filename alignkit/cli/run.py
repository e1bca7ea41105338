"""`alignkit run`: trains what a recipe says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.cli import completion
from alignkit.cli.arguments import ExecuteCode, Overrides, WithoutSandbox, leave
from alignkit.errors import RunFolderError, shown
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.loop.processes as processes
    import alignkit.pipeline as pipelines
    import alignkit.recipe.pipeline as load
    import alignkit.rewards.permission as permissions
    import alignkit.run as runs
else:
    load = LazyModule("alignkit.recipe.pipeline")
    pipelines = LazyModule("alignkit.pipeline")
    permissions = LazyModule("alignkit.rewards.permission")
    processes = LazyModule("alignkit.loop.processes")
    runs = LazyModule("alignkit.run")

LONGEST_NAME = 255
"""Bytes that the file systems in use allow for the name of one file or folder."""


def run(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE",
            help="A recipe file (YAML), alignkit:NAME for a shipped one, or a run folder to go on.",
            autocompletion=completion.recipes,
        ),
    ],
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Run folder; by default a new one under runs/.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the folder's run, or begin it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop before the first training step.")] = False,
    execute_code: ExecuteCode = False,
    without_sandbox: WithoutSandbox = False,
) -> None:
    """Train what a recipe says, and measure before and after."""
    refuse_output(output)
    recipe, output = of_run(recipe, output)
    with processes.joined(), permissions.granting(leave(execute_code, without_sandbox)):
        loaded = load.load(recipe, overrides or ())
        if isinstance(loaded, load.LoadedPipeline):
            pipelines.run_pipeline(loaded, output, resume, dry_run)
        else:
            runs.run(loaded, output, resume, dry_run)


def refuse_output(output: Path | None) -> None:
    """Refuses a folder that cannot be made.

    Raises:
        RunFolderError: its name is too long or would not survive in messages.
    """
    if output is not None and (complaint := _unusable(output)):
        raise RunFolderError(f"--output {shown(str(output))}: {complaint}")


def _unusable(folder: Path) -> str | None:
    """Why no folder can have this name; None when one can."""
    if max((len(os.fsencode(part)) for part in folder.parts), default=0) > LONGEST_NAME:
        return f"the name of a folder has at most {LONGEST_NAME} bytes"
    if not str(folder).isprintable():
        return "a line end or another control character cannot stand in messages; give the folder a plain name"
    return None


def of_run(recipe: Path, output: Path | None) -> tuple[Path, Path | None]:
    """Recipe and run folder: a run folder in place of a recipe stands for both.

    Raises:
        RunFolderError: `output` is another one.
    """
    recorded = recipe / "recipe.yaml"
    if not recorded.is_file():
        return recipe, output
    if output is not None and output.resolve() != recipe.resolve():
        raise RunFolderError(f"{recipe}: is a run folder itself; leave out --output, or give {recorded} to run it anew")
    return recorded, recipe
