"""`alignkit sweep`: many runs of one file, and one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alignkit.cli import completion
from alignkit.cli.arguments import ExecuteCode, Overrides, WithoutSandbox, leave
from alignkit.cli.run import refuse_output
from alignkit.lazy import LazyModule

if TYPE_CHECKING:
    import rich.console as consoles

    import alignkit.loop.processes as processes
    import alignkit.rewards.permission as permissions
    import alignkit.sweep.record as records
    import alignkit.sweep.sweep as sweeps
else:
    consoles = LazyModule("rich.console")
    permissions = LazyModule("alignkit.rewards.permission")
    processes = LazyModule("alignkit.loop.processes")
    records = LazyModule("alignkit.sweep.record")
    sweeps = LazyModule("alignkit.sweep.sweep")


def sweep(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="SWEEP", help="A sweep file (YAML), or alignkit:NAME.", autocompletion=completion.recipes
        ),
    ],
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the sweep; by default runs/ and the file's name.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at once.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and list all runs, and begin none.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON and nothing else.")] = False,
    execute_code: ExecuteCode = False,
    without_sandbox: WithoutSandbox = False,
) -> None:
    """Run recipes with many settings and seeds, and set what came of them side by side.

    What is finished in the folder is left alone, so the same command goes on where the last one stopped.
    """
    refuse_output(output)
    if dry_run:
        typer.echo("\n".join(sweeps.describe(*sweeps.read(file, overrides or ()))))
        return
    console = consoles.Console(quiet=as_json)
    with processes.joined(), permissions.granting(leave(execute_code, without_sandbox)):
        folder = sweeps.run_sweep(file, output, jobs, overrides or (), console)
    if as_json:
        typer.echo((folder / records.TABLE).read_text(encoding="utf-8").rstrip("\n"))
    if any(run.state == "failed" for run in records.read_sweep(folder).runs):
        raise typer.Exit(1)
