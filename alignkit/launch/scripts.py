"""Job files for Slurm and SkyPilot: a beginning that a team edits."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from alignkit.errors import LaunchError, shown
from alignkit.launch.placement import Wish
from alignkit.records.files import write_text

TIME: Final = "24:00:00"
_TIME: Final = re.compile(r"(?:[0-9]+-)?[0-9]+(?::[0-9]{1,2}){0,2}")

WARNING: Final = 120
"""Seconds before the end of its time at which a job is told to save."""


@dataclass(frozen=True)
class Job:
    """What a job file says.

    Attributes:
        arguments: of `alignkit run`, the recipe first; they name the run folder and say `--resume`.
        name: of the job.
        nodes: machines.
        gpus: of each; 0 for none.
        time: how long it may take, as Slurm writes it.
    """

    arguments: Sequence[str]
    name: str
    nodes: int
    gpus: int
    time: str

    @property
    def command(self) -> str:
        """What each node starts."""
        recipe, *options = self.arguments
        processes = "" if self.gpus else " --processes 1"
        return f"alignkit launch {shlex.quote(recipe)}{processes} -- {shlex.join(options)}"


def job(recipe: str, options: Sequence[str], output: Path | None, nodes: int, gpus: int, time: str) -> Job:
    """A job that begins a run, or goes on with it.

    Args:
        recipe: as the command line names it.
        options: further words for `alignkit run`.
        output: the run folder that they name; None lets it be named here.
        nodes: machines.
        gpus: of each.
        time: as Slurm writes it.

    Raises:
        LaunchError: `time` is none, or an option cannot stand in a file of lines.
    """
    for word in (recipe, *options):
        if not word.isprintable():
            raise LaunchError(f"--write: {shown(word)}: a line end or control character cannot stand in a job file")
    if not _TIME.fullmatch(time):
        raise LaunchError(f"--time {shown(time)}: expected hours:minutes:seconds or days-hours, such as {TIME}")
    stem = re.sub(r"[^\w.-]+", "-", Path(recipe.rpartition(":")[2]).name.removesuffix(".yaml").removesuffix(".yml"))
    name = stem.strip("-.") or "run"
    words = [recipe, *options]
    if output is None:
        words += ["--output", f"runs/{name}"]
    if "--resume" not in words:
        words.append("--resume")
    return Job(words, name, nodes, gpus, time)


def slurm(one: Job) -> str:
    """A batch script. Slurm signals srun's tasks, not the script itself, which then asks for another turn."""
    gpus = [f"#SBATCH --gpus-per-node={one.gpus}"] if one.gpus else []
    return "\n".join(
        [
            "#!/bin/bash",
            "# Edit: partition and account, nodes, GPUs and time, and how the environment is entered.",
            f"#SBATCH --job-name={one.name}",
            "##SBATCH --partition=... --account=...",
            f"#SBATCH --nodes={one.nodes}",
            "# One launcher a node; it starts a process for each GPU.",
            "#SBATCH --ntasks-per-node=1",
            *gpus,
            "#SBATCH --exclusive",
            f"#SBATCH --time={one.time}",
            f"# {WARNING} s before the end of that time: longer than a step and its checkpoint take.",
            f"#SBATCH --signal=USR1@{WARNING}",
            "#SBATCH --requeue",
            "#SBATCH --open-mode=append",
            f"#SBATCH --output={one.name}-%j.log",
            "",
            "# source .venv/bin/activate",
            "# export HF_HOME=/shared/hf HF_HUB_OFFLINE=1",
            "",
            "# The run folder is on a disk that all nodes share. The same line begins the run and goes on with it.",
            f"srun --kill-on-bad-exit=1 {one.command}",
            "code=$?",
            "if [ $code -eq 138 ]; then  # 128 + USR1: the time is up and a checkpoint is there",
            '    scontrol requeue "$SLURM_JOB_ID"',
            "fi",
            "exit $code",
            "",
        ]
    )


def skypilot(one: Job) -> str:
    """A task of SkyPilot; `sky jobs launch` starts it again on other machines when these are taken away."""
    accelerators = [f"  accelerators: H100:{one.gpus}"] if one.gpus else []
    return "\n".join(
        [
            "# Edit: resources, where the runs are kept, and setup. Start it with: sky jobs launch FILE",
            f"name: {re.sub('[^a-zA-Z0-9-]', '-', one.name).strip('-').lower() or 'run'}",
            f"num_nodes: {one.nodes}",
            "",
            "resources:",
            *accelerators,
            "  use_spot: true",
            "",
            "workdir: .",
            "",
            "# A disk that all nodes share and that outlives them, or a new machine has no run to go on with.",
            "# volumes:",
            "#   ~/sky_workdir/runs: my-shared-volume",
            "",
            "setup: |",
            "  pip install alignkit",
            "",
            "# The same line begins the run and goes on with it.",
            "run: |",
            f"  {one.command}",
            "",
        ]
    )


KINDS: Final[Mapping[str, Callable[[Job], str]]] = {"slurm": slurm, "skypilot": skypilot}

EDIT: Final[Mapping[str, str]] = {
    "slurm": "partition, account, time and the environment; then sbatch it",
    "skypilot": "resources, the shared volume and setup; then sky jobs launch it",
}
"""What is left to its user."""


def refuse_misplaced(wish: Wish) -> None:
    """Refuses options that say where this machine stands: in a job, each machine finds that out by itself.

    Raises:
        LaunchError: naming them.
    """
    if said := replace(wish, nodes=None).words:
        raise LaunchError(
            f"--write: {said} has no place in a job file, where Slurm or SkyPilot say it; give --nodes and "
            "--gpus-per-node"
        )


def write(kind: str, one: Job, file: Path, *, force: bool) -> None:
    """Writes a job file.

    Args:
        kind: of `KINDS`.
        one: what it says.
        file: where to.
        force: replace what is there.

    Raises:
        LaunchError: it is there already, or `kind` is none.
        RunFolderError: it cannot be written.
    """
    if kind not in KINDS:
        raise LaunchError(f"--write {shown(kind)}: expected {' or '.join(KINDS)}")
    if file.exists() and not force:
        raise LaunchError(f"{file}: is there already; give another name, or --force to replace it")
    write_text(file, KINDS[kind](one))
