"""A run from recipe to record. The table of contents of the program: read this first."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from rich.console import Console

from alignkit.data.naming import on_world
from alignkit.data.preview import preview
from alignkit.data.rows import Tables
from alignkit.data.tables import load_tables
from alignkit.data.texts import training_texts
from alignkit.data.tokenising import template_fingerprint
from alignkit.determinism import deterministic
from alignkit.engine.objective import ObjectiveStep
from alignkit.engine.rollouts import Rollouts
from alignkit.engine.setup import build_scoring, longest_rows, shard_models
from alignkit.engine.workbench import SideRuns
from alignkit.evaluation.evaluate import Evaluation
from alignkit.keeping import Keeper, Whole, keeping
from alignkit.lazy import accelerate, torch
from alignkit.loop.accelerator import make_accelerator, own_state, start_trackers
from alignkit.loop.agreement import alike, num_processes, same_program
from alignkit.loop.loop import TrainResult, train
from alignkit.loop.order import planned_steps
from alignkit.loop.signals import Interrupted, Interruptible
from alignkit.models.policy import build_policy
from alignkit.prepared import Parts, Prepared
from alignkit.progress.display import Display, note, showing
from alignkit.progress.steps import Progress
from alignkit.quiet import quiet_libraries
from alignkit.recipe.load import LoadedRecipe, load_recipe
from alignkit.recipe.pipeline import LoadedPipeline, check_share
from alignkit.recipe.recipe import Recipe
from alignkit.recipe.tree import dotted, leaves
from alignkit.records.fingerprints import model_fingerprint
from alignkit.report.banner import Banner
from alignkit.report.start import dry_run_line, show_begun, show_plan
from alignkit.result import RunResult
from alignkit.rewards.judge import Judge
from alignkit.rewards.permission import Permission, granted, granting
from alignkit.rewards.sandbox import require

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def run(
    recipe: LoadedRecipe | Path | str,
    output: Path | str | None = None,
    resume: bool = False,
    dry_run: bool = False,
    quiet: bool = False,
    execute_code: Permission | None = None,
) -> RunResult:
    """Trains what a recipe says and records it.

    Args:
        recipe: from `load_recipe`, or what that takes.
        output: run folder; None makes a new one below `runs/`.
        resume: go on with the run in `output`, or begin one there when there is none yet.
        dry_run: load everything, show the plan and a row as the model will see it, check, and stop; nothing that is
            kept is computed and nothing is written.
        quiet: print nothing; the records are the same.
        execute_code: whether rewards may run code that the model writes: "none", in a "sandbox", or "bare" where the
            machine has no sandbox; None leaves it as it is, which is not at all.

    Returns:
        The run folder and what is in it, on every process; without a folder after a dry run.

    Raises:
        AlignkitError: the user can mend it; nothing that was there before is lost.
        SystemExit: 128 + signal, after a signal was answered with a checkpoint.
    """
    loaded = recipe if isinstance(recipe, LoadedRecipe) else load_recipe(recipe)
    with surroundings(loaded, quiet=quiet) as display, granting(execute_code or granted()):
        if dry_run:
            _dry_run(display.console, loaded)
            return RunResult(None)
        folder = None if output is None else Path(output)
        return RunResult(_real_run(display, loaded, folder, resume=resume))


def run_stage(loaded: LoadedRecipe, output: Path, whole: Whole, quiet: bool = False) -> RunResult:
    """A run as a stage of a pipeline: gone on with where it was begun, left alone where it is finished.

    Args:
        loaded: the stage, with the folders of earlier stages' models.
        output: its run folder.
        whole: the pipeline.
        quiet: print nothing.

    Raises:
        AlignkitError: as of a run.
        SystemExit: as of a run; what the user reads then names the pipeline.
    """
    with surroundings(loaded, quiet=quiet) as display:
        return RunResult(_real_run(display, loaded, output, resume=True, whole=whole))


@contextmanager
def surroundings(loaded: LoadedRecipe, *, quiet: bool) -> Iterator[Display]:
    """What a run needs around it, put back afterwards; gives where to show things."""
    state = accelerate.PartialState(cpu=not torch.accelerator.is_available())
    display = Display(Console(quiet=quiet or not state.is_main_process))
    with quiet_libraries(), own_state(), showing(display), deterministic(loaded.recipe.training.deterministic):
        yield display


def _real_run(
    display: Display, loaded: LoadedRecipe, output: Path | None, *, resume: bool, whole: Whole | None = None
) -> Path:
    console = display.console
    same_work(loaded)
    with (
        Interruptible(),
        keeping(console, loaded, output, resume=resume, whole=whole) as keeper,
        Judge(loaded.recipe.rewards) as judge,
    ):
        path = keeper.path
        if keeper.state == "finished":
            keeper.note(f"{path}: this run is finished; nothing is left to do")
            return path
        progress = partial(Progress, display=display)
        side = SideRuns(path / "contrast", keeper.begin, keeper.note, progress, keeper.goes_on_with)
        _check_before(loaded)
        show_begun(console, loaded, str(path))
        parts = load_parts(loaded, path, path / "dropped.jsonl" if keeper.folder else None, Banner(console))
        try:
            prepared = prepare(parts, side, judge, path)
            keeper.begin(parts.fingerprints)
            keeper.record_data(parts)
            before = keeper.evaluate(prepared, "before")
            start_trackers(parts.accelerator, path, _settings(loaded))
            result = _train(display, prepared, keeper, before)
            if result.stopped_by_signal is not None:
                keeper.note(keeper.stopped(result.stopped_by_signal, f"after step {result.steps}"))
                parts.accelerator.end_training()
                raise SystemExit(128 + result.stopped_by_signal)
            keeper.finish(prepared, before, keeper.evaluate(prepared, "after"))
        except Interrupted as stop:
            stop.message = keeper.stopped(stop.signal, "between two steps or while measuring")
            raise
    return path


def _dry_run(console: Console, loaded: LoadedRecipe) -> None:
    """The plan and a row first, then what can be checked on a few rows."""
    same_work(loaded)
    _check_before(loaded)
    show_begun(console, loaded, "none: dry run")
    parts = load_parts(loaded, Path("."), None, Banner(console))
    console.print(preview(parts.tables.train[0], parts.policy.tokenizer))
    with Judge(loaded.recipe.rewards) as judge:
        setup = prepare(parts, SideRuns(is_dry=True), judge).setup
    note(console, dry_run_line(setup, parts.loaded.recipe))


def same_work(loaded: LoadedRecipe | LoadedPipeline) -> None:
    """Refuses processes that do not run the same recipe with the same program, before anything is loaded.

    Raises:
        LaunchError: naming the process.
    """
    same_program()
    alike("recipe", lambda: {**_settings(loaded), **loaded.plugins}, "start all processes with the same files")


def _settings(loaded: LoadedRecipe | LoadedPipeline) -> dict[str, object]:
    return {dotted(key): value for key, value in leaves(loaded.tree())}


def _check_before(loaded: LoadedRecipe) -> None:
    """The processes, and what draws and scores responses, are asked before data and model are loaded, which may take
    long."""
    recipe = loaded.recipe
    check_share(loaded, num_processes())
    recipe.evaluation.check()
    for reward in recipe.rewards:
        reward.check()
    if recipe.sampler is not None:
        recipe.sampler.check()


def load_parts(loaded: LoadedRecipe, path: Path, dropped_file: Path | None, banner: Banner | None = None) -> Parts:
    """Data and model of a recipe.

    Args:
        loaded: the recipe.
        path: run folder, for trackers.
        dropped_file: where dropped rows go; None keeps them nowhere.
        banner: shows each part when it is there; None shows none.

    Raises:
        AlignkitError: a part cannot be had or does not fit.
    """
    recipe, banner = loaded.recipe, banner or Banner(Console(quiet=True))
    require(recipe.rewards)
    accelerator = make_accelerator(recipe.training, path)
    tokenizer, tables = read_rows(recipe, dropped_file)
    banner.data(tables.reports)
    policy = build_policy(
        recipe.model,
        tokenizer,
        seed=recipe.seed,
        separate=recipe.needs().full_sequence,
        device=accelerator.device,
        template_end=tables.end,
        longest=longest_rows(recipe.method(), recipe.sizes(), tables, tokenizer),
        parameters=recipe.training.parameters,
    )
    fingerprints = {
        "data": "+".join(report.fingerprint for report in tables.reports),
        "template": template_fingerprint(tokenizer),
        "model": model_fingerprint(policy.model),
    }
    counts = {"rows": len(tables.train), "held-out rows": len(tables.eval)}
    alike("data or model", lambda: counts | fingerprints, "give every machine the same files")
    job = recipe.job(policy.has_adapter)
    show_plan(banner, loaded, job.training, policy, tables, accelerator)
    return Parts(loaded, job, accelerator, tables, policy, fingerprints)


def read_rows(recipe: Recipe, dropped_file: Path | None) -> tuple[PreTrainedTokenizerBase, Tables]:
    """Tokenizer and rows of a recipe.

    Args:
        recipe: what is run.
        dropped_file: where dropped rows go; None keeps them nowhere.

    Raises:
        AlignkitError: one of them cannot be had, or does not fit the recipe.
    """
    tokenizer = recipe.model.load_tokenizer(training_texts(recipe.data, recipe.seed))
    tables = load_tables(recipe.data, tokenizer, recipe.wanted(), seed=recipe.seed, dropped_file=dropped_file)
    return tokenizer, tables


def prepare(parts: Parts, side: SideRuns, judge: Judge, folder: Path | None = None) -> Prepared:
    """Reference, token values and step of a run, checked.

    Args:
        parts: its data and model.
        side: for trainings that token weights need beforehand.
        judge: asks the recipe's rewards.
        folder: of the run, for samples to read; None keeps none.

    Raises:
        AlignkitError: a part cannot be had or does not fit.
    """
    recipe, tables = parts.loaded.recipe, parts.tables
    setup = build_scoring(parts.job, parts.policy, tables, parts.fingerprints, parts.accelerator, side)
    if recipe.parallel.strategy == "fsdp" and parts.accelerator.num_processes > 1:  # one process looks into the run
        shard_models(setup.scoring, recipe.parallel, parts.accelerator)
    draws = parts.job.method.drawing is not None
    rollouts = Rollouts(setup.scoring, parts.job.sizes, tables.train, judge, folder) if draws else None
    step = ObjectiveStep(setup.scoring, parts.job.sizes, rollouts)
    step.check_start(setup.looked_up.visited)
    is_world = on_world(recipe.data)
    evaluation = Evaluation(
        setup.scoring,
        recipe.evaluation,
        tables.eval,
        setup.reference,
        parts.accelerator,
        is_world,
        rollouts,
        parts.job.sizes.micro_batch,
    )
    return Prepared(parts, step, evaluation, setup)


def _train(display: Display, prepared: Prepared, keeper: Keeper, before: Mapping[str, float]) -> TrainResult:
    """Trains and saves: when it returns without a signal, the last checkpoint and `final/` are on the disk."""
    job, rows = prepared.parts.job, prepared.parts.tables.train
    with Progress(planned_steps(job.training, len(rows), job.method.view.updates), display=display) as progress:
        return train(
            prepared.step,
            rows,
            job.training,
            seed=prepared.parts.loaded.recipe.seed,
            folder=keeper.path,
            accelerator=prepared.parts.accelerator,
            fingerprint=prepared.parts.fingerprints,
            on_log=progress.update,
            on_eval=prepared.evaluation if job.training.eval_every else None,
            on_note=progress.note,
            on_start=keeper.go_on,
            on_trained=partial(keeper.save, prepared, before),
            resume=keeper.state == "resumed",
        )


class _Callable(ModuleType):
    """This module is what `alignkit.run` means once it is imported, so it can be called as the function of its name."""

    __call__ = staticmethod(run)
    __signature__ = signature(run)


sys.modules[__name__].__class__ = _Callable
