"""A pipeline from recipe to records: its stages run one after the other, each a run folder inside the pipeline's."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

from rich.console import Console

from alignkit.errors import AlignkitError, RunFolderError
from alignkit.folder import DONE, FINAL, RECIPE, RunFolder, recorded_recipe, resume_command
from alignkit.keeping import Whole
from alignkit.lazy import accelerate, torch
from alignkit.loop.agreement import num_processes
from alignkit.loop.config import SCHEDULE
from alignkit.loop.signals import Interrupted, Interruptible
from alignkit.progress.display import note
from alignkit.recipe.changes import Difference, limited
from alignkit.recipe.load import LoadedRecipe
from alignkit.recipe.local import missing
from alignkit.recipe.pipeline import LoadedPipeline, check_share, load_pipeline, results_of, with_results
from alignkit.recipe.places import Stood
from alignkit.recipe.tree import Path as KeyPath
from alignkit.records.files import write_text
from alignkit.result import RunResult
from alignkit.rewards.permission import Permission, granted, granting
from alignkit.rewards.sandbox import require
from alignkit.run import run, run_stage, same_work


def run_pipeline(
    recipe: LoadedPipeline | Path | str,
    output: Path | str | None = None,
    resume: bool = False,
    dry_run: bool = False,
    quiet: bool = False,
    execute_code: Permission | None = None,
) -> Mapping[str, RunResult]:
    """Trains the stages of a recipe one after the other and records them.

    Args:
        recipe: from `load_pipeline`, or what that takes.
        output: folder of the pipeline; None makes a new one below `runs/`. A stage has its run folder in it.
        resume: go on with the pipeline in `output`, or begin one there when there is none yet: finished stages stay as
            they are.
        dry_run: as of a run, for every stage that begins with a model that is there; nothing is written.
        quiet: print nothing; the records are the same.
        execute_code: as of a run, for all stages.

    Returns:
        Stage -> what came of it, on every process.

    Raises:
        AlignkitError: the user can mend it; nothing that was there before is lost.
        SystemExit: 128 + signal, after a signal was answered with a checkpoint.
    """
    loaded = recipe if isinstance(recipe, LoadedPipeline) else load_pipeline(recipe)
    with granting(execute_code or granted()):
        return _run(loaded, None if output is None else Path(output), resume, dry_run, quiet)


def _run(
    loaded: LoadedPipeline, output: Path | None, resume: bool, dry_run: bool, quiet: bool
) -> Mapping[str, RunResult]:
    same_work(loaded)
    rewards = [reward for stage in loaded.stages.values() for reward in stage.recipe.rewards]
    require(rewards)
    for reward in rewards:  # a later stage may be hours away
        reward.check()
    for stage in loaded.stages.values():
        stage.recipe.evaluation.check()
    state = accelerate.PartialState(cpu=not torch.accelerator.is_available())
    console = Console(quiet=quiet or not state.is_main_process)
    if dry_run:
        return _dry_run(console, loaded, quiet=quiet)
    results: dict[str, RunResult] = {}
    with Interruptible(), _folder(loaded, output, resume=resume) as folder:
        for name, stage in loaded.stages.items():  # a later one may be hours away
            if not (folder.stages[name] / DONE).exists():
                check_share(stage, num_processes())
        for name, stage in loaded.stages.items():
            note(console, f"stage {len(results) + 1} of {len(loaded.stages)}: {name}")
            try:
                results[name] = run_stage(_with_models(stage, folder), folder.stages[name], folder.whole, quiet=quiet)
            except Interrupted as stop:
                stop.message = f"stopped by {Signals(stop.signal).name} in stage '{name}'; {folder.advice}"
                raise
            gc.collect()  # a model that stands in a circle of references would take room from the next one
        folder.finish()
        state.destroy_process_group()
        note(console, f"pipeline folder: {folder.path}")
    return results


def _dry_run(console: Console, loaded: LoadedPipeline, *, quiet: bool) -> Mapping[str, RunResult]:
    """A dry run of each stage that could begin; of the others what can be known without their models."""
    check_share(loaded, num_processes())
    for number, (name, stage) in enumerate(loaded.stages.items(), 1):
        results = results_of(stage)
        stage.refuse(misfit for misfit in missing(stage.recipe) if misfit[0] not in results)
        note(console, f"stage {number} of {len(loaded.stages)}: {name}")
        if not results:
            run(stage, dry_run=True, quiet=quiet)
            gc.collect()
            continue
        models = " and ".join(f"'{model}'" for model in dict.fromkeys(results.values()))
        note(console, f"dry run: only the recipe was checked; a dry run leaves no model of stage {models} to load")
    return {name: RunResult(None) for name in loaded.stages}


@dataclass(frozen=True)
class _Folder:
    """The folder of a pipeline.

    Attributes:
        path: where it is.
        stages: name -> run folder of each stage, there or not.
        whole: what its stages have to know of it.
        opened: the same folder on the main process.
    """

    path: Path
    stages: Mapping[str, Path]
    whole: Whole
    opened: RunFolder | None

    @property
    def advice(self) -> str:
        """What to do after a signal."""
        has_begun = (self.path / RECIPE).exists()
        return f"go on with {resume_command(self.path)}" if has_begun else "nothing was trained"

    def finish(self) -> None:
        """Writes `DONE`, if it is not there: the last write of a pipeline."""
        if self.opened and not (self.path / DONE).exists():
            self.opened.mark_done()


@contextmanager
def _folder(loaded: LoadedPipeline, output: Path | None, *, resume: bool) -> Iterator[_Folder]:
    """The folder, found or made and locked, as long as it is entered; refused on every process alike."""
    opened: RunFolder | None = None
    changes: list[Difference] = []
    outcome: list[Any] = [None]
    if accelerate.PartialState().is_main_process:
        try:
            opened = RunFolder.open(output, loaded.path.name, resume=resume)
            if opened.resumed:
                changes = _changes(opened, loaded)
            outcome = [opened.path]
        except AlignkitError as error:
            outcome = [error]
    accelerate.utils.broadcast_object_list(outcome)
    try:
        if isinstance(outcome[0], AlignkitError):
            raise outcome[0]
        path: Path = outcome[0]

        def record() -> None:
            if opened and (changes or not opened.resumed):
                write_text(opened.path / RECIPE, loaded.to_yaml(origin=True))
            if opened:
                opened.reopen()

        yield _Folder(path, _stage_folders(path, loaded), Whole(path, record), opened)
    finally:
        if opened:
            opened.remove_if_unused()
            opened.close()


def _stage_folders(path: Path, loaded: LoadedPipeline) -> dict[str, Path]:
    """`1-sft`, `2-dpo`: in a listing they stand in their order."""
    return {name: path / f"{number}-{name}" for number, name in enumerate(loaded.stages, 1)}


def _changes(folder: RunFolder, loaded: LoadedPipeline) -> list[Difference]:
    """What differs from the pipeline in the folder, as far as it may: nothing that a later stage has begun from.

    Raises:
        RunFolderError: naming the keys.
    """
    before = recorded_recipe(folder.path)
    stages = before.get("stages") if isinstance(before, dict) else None
    if not isinstance(stages, dict):
        raise RunFolderError(f"{folder.path}: holds a single run and no pipeline; choose another --output")
    if list(stages) != list(loaded.stages):
        were, are = ", ".join(stages), ", ".join(loaded.stages)
        raise RunFolderError(
            f"{folder.path}: cannot resume: the stages were {were} and are {are} now; undo the change or choose "
            "another --output"
        )
    found = folder.changes(loaded.to_yaml())
    folders = _stage_folders(folder.path, loaded)
    for name, stage in loaded.stages.items():
        if not (folders[name] / RECIPE).exists():
            continue
        late = [one for one in found if any(_decides(one, earlier) for earlier in results_of(stage).values())]
        if late:
            raise RunFolderError(
                f"{folder.path}: cannot resume: {limited(late)}: stage '{name}' has begun from that result; undo the "
                "change or choose another --output"
            )
    return found


def _decides(change: Difference, stage: str) -> bool:
    """Whether a change gives a stage another result."""
    key = tuple(change.key.split("."))
    return key[:3] == ("stages", stage, "training") and key[3] in SCHEDULE


def _with_models(stage: LoadedRecipe, folder: _Folder) -> LoadedRecipe:
    """The stage with the folders of earlier stages' models in place of their names.

    A folder that it began with keeps the name that is recorded, from wherever the pipeline is called this time.
    """
    recorded: object = None
    if (folder.stages[stage.stage] / RECIPE).exists():
        recorded = recorded_recipe(folder.stages[stage.stage])
    models = {}
    for path, name in results_of(stage).items():
        model = folder.stages[name] / FINAL
        was = _at(recorded, path)
        is_same = was is not None and Path(was).parts[-2:] == model.parts[-2:]
        models[path] = Stood(was if was is not None and is_same else str(model), str(model))
    return with_results(stage, models)


def _at(values: object, path: KeyPath) -> str | None:
    for step in path:
        if not isinstance(values, dict):
            return None
        values = values.get(step)
    return values if isinstance(values, str) else None
