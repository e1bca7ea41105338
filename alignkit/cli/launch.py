"""`alignkit launch`: a run of several processes, on one machine or on each of several."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alignkit.cli.arguments import RecipeFile
from alignkit.cli.run import of_run
from alignkit.lazy import LazyModule, torch

if TYPE_CHECKING:
    import alignkit.launch.placement as placements
    import alignkit.launch.scripts as scripts
    import alignkit.launch.start as starting
    import alignkit.recipe.pipeline as load
else:
    load = LazyModule("alignkit.recipe.pipeline")
    placements = LazyModule("alignkit.launch.placement")
    scripts = LazyModule("alignkit.launch.scripts")
    starting = LazyModule("alignkit.launch.start")


def launch(
    context: typer.Context,
    recipe: RecipeFile,
    options: Annotated[
        list[str] | None, typer.Argument(metavar="[-- OPTIONS OF RUN]", help="Such as: -- --set KEY=VALUE --resume")
    ] = None,
    processes: Annotated[
        str | None,
        typer.Option(metavar="N|gpu", help="Processes of this machine; by default one to each GPU, else one."),
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(min=1, help="Machines; by default those that Slurm or SkyPilot give.")
    ] = None,
    node_rank: Annotated[int | None, typer.Option(min=0, help="This machine's number, from 0.")] = None,
    head: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Machine number 0 and a free port.")] = None,
    print_only: Annotated[bool, typer.Option("--print", help="Print the command line and start nothing.")] = False,
    write: Annotated[
        tuple[str, Path] | None,
        typer.Option(metavar="slurm|skypilot FILE", help="Write a job file to edit, and start nothing."),
    ] = None,
    gpus_per_node: Annotated[int, typer.Option(min=0, help="For --write: GPUs of each machine.")] = 8,
    time: Annotated[str, typer.Option(help="For --write slurm: how long the job may take.")] = "24:00:00",
    force: Annotated[bool, typer.Option("--force", help="For --write: replace the file.")] = False,
) -> None:
    """Start a run on several processes, with torchrun: all GPUs of a machine, or of each of several machines.

    With one process it is `alignkit run`. What comes after -- is for each process's `alignkit run`.
    """
    arguments = [str(recipe), *(options or ())]
    run = _parsed(context, arguments)
    file_to_run, output = of_run(run.params["recipe"], run.params["output"])
    loaded = load.load(file_to_run, run.params["overrides"] or ())
    wish = placements.Wish(processes, nodes, node_rank, head)
    if write is not None:
        kind, file = write
        scripts.refuse_misplaced(wish)
        load.check_share(loaded, (nodes or 1) * (gpus_per_node or 1))
        job = scripts.job(str(recipe), options or (), output, nodes or 1, gpus_per_node, time)
        scripts.write(kind, job, file, force=force)
        typer.echo(f"{file}: written; edit {scripts.EDIT[kind]}")
        return
    placement = placements.placed(wish, os.environ, _devices)
    if placement.is_alone and not print_only:  # which knows a finished run before it asks how many processes there are
        with run:
            run.command.invoke(run)
        return
    load.check_share(loaded, placement.processes * placement.nodes)
    line, added = starting.words(placement, arguments), starting.variables(placement)
    if print_only:
        typer.echo(starting.shell_line(line, added))
    elif code := starting.start(line, added, placement, wish):
        raise typer.Exit(code)


def _parsed(context: typer.Context, arguments: list[str]) -> Any:  # noqa: ANN401 -- Click's or Typer's own context
    """The arguments as `alignkit run` reads them: a mistake in them is told once, before anything is started."""
    verbs: Any = context.find_root()
    return verbs.command.get_command(verbs, "run").make_context("run", [*arguments], parent=verbs)


def _devices() -> int:
    return int(torch.accelerator.device_count()) if torch.accelerator.is_available() else 0
