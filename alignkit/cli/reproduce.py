"""`alignkit reproduce`: a recorded run once more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.cli.arguments import ExecuteCode, WithoutSandbox, leave
from alignkit.cli.run import refuse_output
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import alignkit.loop.processes as processes
    import alignkit.reproduce as reproducing
    import alignkit.rewards.permission as permissions
else:
    permissions = LazyModule("alignkit.rewards.permission")
    processes = LazyModule("alignkit.loop.processes")
    reproducing = LazyModule("alignkit.reproduce")


def reproduce(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder; nothing in it is changed.")],
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the new run; by default runs/NAME-again.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only check what went in; train nothing.")] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Run even where data, template or model are not those of the run.")
    ] = False,
    execute_code: ExecuteCode = False,
    without_sandbox: WithoutSandbox = False,
) -> None:
    """Run a run folder's recipe anew after checking what went in, and say what differs; exit code 1 if anything."""
    refuse_output(output)
    with processes.joined(), permissions.granting(leave(execute_code, without_sandbox)):
        same = reproducing.reproduce(run, output, check, anyway)
    if not same:
        raise typer.Exit(1)
