"""A run from recipe to record. The table of contents of the program: read this first."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from inspect import signature
from pathlib import Path
from signal import Signals
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.text import Text

from alignkit.data.naming import on_world
from alignkit.data.preview import preview
from alignkit.data.rows import Tables
from alignkit.data.tables import load_tables, training_texts
from alignkit.data.tokenising import template_fingerprint
from alignkit.determinism import deterministic
from alignkit.engine.method import Job
from alignkit.engine.objective import ObjectiveStep
from alignkit.engine.setup import Setup, build_scoring, longest_rows
from alignkit.engine.workbench import SideRuns
from alignkit.errors import AlignkitError, printable
from alignkit.evaluation.evaluate import Evaluation
from alignkit.evaluation.records import read_records, write_records
from alignkit.folder import RunFolder, resume_command
from alignkit.lazy import accelerate, torch
from alignkit.loop.accelerator import make_accelerator, own_state, start_trackers
from alignkit.loop.loop import TrainResult, train
from alignkit.loop.order import planned_steps
from alignkit.loop.signals import Interrupted, Interruptible
from alignkit.models.policy import Policy, build_policy
from alignkit.progress.display import Display, showing
from alignkit.progress.steps import Progress
from alignkit.quiet import quiet_libraries
from alignkit.recipe.load import LoadedRecipe, load_recipe
from alignkit.recipe.recipe import Recipe
from alignkit.recipe.tree import dotted, leaves
from alignkit.records.fingerprints import model_fingerprint
from alignkit.report.banner import Banner
from alignkit.report.card import ModelCard, write_card
from alignkit.report.outcome import show_outcome
from alignkit.report.start import dry_run_line, show_begun, show_plan
from alignkit.report.weights import weight_heatmaps
from alignkit.result import RunResult

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Parts:
    """What a recipe names, loaded."""

    loaded: LoadedRecipe
    job: Job
    accelerator: Accelerator
    tables: Tables
    policy: Policy
    fingerprints: Mapping[str, str]


@dataclass(frozen=True)
class Prepared:
    """Everything a run needs before its first step."""

    parts: Parts
    step: ObjectiveStep
    evaluation: Evaluation
    setup: Setup


def run(
    recipe: LoadedRecipe | Path | str,
    output: Path | str | None = None,
    resume: bool = False,
    dry_run: bool = False,
    quiet: bool = False,
) -> RunResult:
    """Trains what a recipe says and records it.

    Args:
        recipe: from `load_recipe`, or what that takes.
        output: run folder; None makes a new one below `runs/`.
        resume: go on with the run in `output`, or begin one there when there is none yet.
        dry_run: load everything, show the plan and a row as the model will see it, check, and stop; nothing that is
            kept is computed and nothing is written.
        quiet: print nothing; the records are the same.

    Returns:
        The run folder and what is in it, on every process; without a folder after a dry run.

    Raises:
        AlignkitError: the user can mend it; nothing that was there before is lost.
        SystemExit: 128 + signal, after a signal was answered with a checkpoint.
    """
    loaded = recipe if isinstance(recipe, LoadedRecipe) else load_recipe(recipe)
    state = accelerate.PartialState(cpu=not torch.accelerator.is_available())
    console = Console(quiet=quiet or not state.is_main_process)
    display = Display(console)
    with quiet_libraries(), own_state(), showing(display), deterministic(loaded.recipe.training.deterministic):
        if dry_run:
            _dry_run(console, loaded)
            return RunResult(None)
        folder = None if output is None else Path(output)
        return RunResult(_real_run(display, loaded, folder, resume=resume))


def _real_run(display: Display, loaded: LoadedRecipe, output: Path | None, *, resume: bool) -> Path:
    console = display.console
    with Interruptible(), _folder(loaded, output, resume=resume) as (path, folder, how):
        if how == "finished":
            _note(console, f"{path}: this run is finished; nothing is left to do")
            return path
        begin = partial(_begin, loaded, folder)
        progress = partial(Progress, display=display)
        side = SideRuns(path / "contrast", begin, partial(_note, console), progress, resume_command(path))
        show_begun(console, loaded, str(path))
        parts = load_parts(loaded, path, path / "dropped.jsonl" if folder else None, Banner(console))
        try:
            prepared = prepare(parts, side)
            begin(parts.fingerprints)
            before = _evaluate(console, prepared, folder, "before")
            start_trackers(parts.accelerator, path, {dotted(key): value for key, value in leaves(loaded.tree())})
            result = _train(display, prepared, path, folder, before, resume=how == "resumed")
            if result.stopped_by_signal is not None:
                _note(console, _stopped(result.stopped_by_signal, f"after step {result.steps}", path))
                parts.accelerator.end_training()
                raise SystemExit(128 + result.stopped_by_signal)
            after = _evaluate(console, prepared, folder, "after")
            _finish(console, prepared, path, folder, before, after)
        except Interrupted as stop:
            stop.message = _stopped(stop.signal, "between two steps or while measuring", path)
            raise
    return path


def _dry_run(console: Console, loaded: LoadedRecipe) -> None:
    """The plan and a row first, then what can be checked on a few rows."""
    show_begun(console, loaded, "none: dry run")
    parts = load_parts(loaded, Path("."), None, Banner(console))
    console.print(preview(parts.tables.train[0], parts.policy.tokenizer))
    setup = prepare(parts, SideRuns(is_dry=True)).setup
    _note(console, dry_run_line(setup, parts.loaded.recipe))


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
    )
    fingerprints = {
        "data": "+".join(report.fingerprint for report in tables.reports),
        "template": template_fingerprint(tokenizer),
        "model": model_fingerprint(policy.model),
    }
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
    needs = recipe.needs()
    tables = load_tables(
        recipe.data,
        tokenizer,
        responses=recipe.trainer.responses + (("gold",) if needs.gold else ()),
        columns=needs.columns,
        nonnegative=needs.nonnegative,
        token_columns=frozenset[str]().union(*(values.token_columns for values in needs.values)),
        seed=recipe.seed,
        dropped_file=dropped_file,
    )
    return tokenizer, tables


def prepare(parts: Parts, side: SideRuns) -> Prepared:
    """Reference, token values and step of a run, checked.

    Args:
        parts: its data and model.
        side: for trainings that token weights need beforehand.

    Raises:
        AlignkitError: a part cannot be had or does not fit.
    """
    recipe, tables = parts.loaded.recipe, parts.tables
    setup = build_scoring(parts.job, parts.policy, tables, parts.fingerprints, parts.accelerator, side)
    step = ObjectiveStep(setup.scoring, parts.job.sizes)
    step.check_start(setup.looked_up.visited)
    is_world = on_world(recipe.data)
    evaluation = Evaluation(setup.scoring, recipe.evaluation, tables.eval, setup.reference, parts.accelerator, is_world)
    return Prepared(parts, step, evaluation, setup)


def _train(
    display: Display,
    prepared: Prepared,
    path: Path,
    folder: RunFolder | None,
    before: Mapping[str, float],
    *,
    resume: bool,
) -> TrainResult:
    """Trains and saves: when it returns without a signal, the last checkpoint and `final/` are on the disk."""
    recipe = prepared.parts.loaded.recipe
    rows = prepared.parts.tables.train
    total = planned_steps(prepared.parts.job.training, len(rows))
    with Progress(total, display=display) as progress:
        return train(
            prepared.step,
            rows,
            prepared.parts.job.training,
            seed=recipe.seed,
            folder=path,
            accelerator=prepared.parts.accelerator,
            fingerprint=prepared.parts.fingerprints,
            on_log=progress.update,
            on_eval=prepared.evaluation if prepared.parts.job.training.eval_every else None,
            on_note=progress.note,
            on_start=folder.go_on if folder else lambda done: None,
            on_trained=partial(_save, prepared, folder, before),
            resume=resume,
        )


# --- records and what the user sees ---


def _begin(loaded: LoadedRecipe, folder: RunFolder | None, fingerprints: Mapping[str, str]) -> None:
    """Records what the run is, on the main process."""
    if folder:
        recipe = loaded.to_yaml(origin=True)
        folder.begin(recipe, seed=loaded.recipe.seed, command=sys.argv, fingerprints=fingerprints)


def _stopped(number: int, when: str, path: Path) -> str:
    """What a user reads after a signal."""
    has_begun = (path / "recipe.yaml").exists()
    advice = f"go on with {resume_command(path)}" if has_begun else "nothing was trained"
    return f"stopped by {Signals(number).name} {when}; {advice}"


@contextmanager
def _folder(
    loaded: LoadedRecipe, output: Path | None, *, resume: bool
) -> Iterator[tuple[Path, RunFolder | None, Literal["new", "resumed", "finished"]]]:
    """The run folder's path and state on every process, and the folder itself on the main one."""
    folder: RunFolder | None = None
    outcome: list[Any] = [None]
    if accelerate.PartialState().is_main_process:
        try:
            folder = RunFolder.open(output, loaded.path.name, resume=resume)
            is_idle = folder.nothing_left(loaded.to_yaml())
            outcome = [(folder.path, "finished" if is_idle else "resumed" if folder.resumed else "new")]
        except AlignkitError as error:
            outcome = [error]
    accelerate.utils.broadcast_object_list(outcome)  # or the other processes would wait for a refused folder
    try:
        if isinstance(outcome[0], AlignkitError):
            raise outcome[0]
        path, how = outcome[0]
        yield path, folder, how
    finally:
        if folder:
            folder.remove_if_unused()
            folder.close()


def _evaluate(
    console: Console, prepared: Prepared, folder: RunFolder | None, moment: Literal["before", "after"]
) -> dict[str, float]:
    """Measures the policy, unless an interrupted run recorded the same moment already, and records it."""
    recorded = folder.evaluations() if folder and moment == "before" else {}
    known: list[dict[str, float] | None] = [recorded.get(moment)]
    while folder and folder.notes:
        _note(console, folder.notes.pop(0))
    accelerate.utils.broadcast_object_list(known)
    if known[0] is not None:
        return known[0]
    measured = prepared.evaluation.measure()
    if folder:
        write_records(folder.path, moment, measured)
        folder.record_evaluation(moment, measured.summary)
    return measured.summary


def _save(prepared: Prepared, folder: RunFolder | None, before: Mapping[str, float]) -> None:
    """Saves the model, with a card that does not know yet what came of it."""
    if folder:
        prepared.parts.policy.save(folder.final)
        write_card(folder.final, _card(prepared.parts, folder, before))


def _card(
    parts: Parts,
    folder: RunFolder,
    before: Mapping[str, float],
    after: Mapping[str, float] | None = None,
    change: Mapping[str, float] | None = None,
) -> ModelCard:
    record = folder.record()
    return ModelCard(
        recipe=parts.loaded.recipe,
        recipe_text=parts.loaded.to_yaml(),
        has_adapter=parts.policy.has_adapter,
        reports=parts.tables.reports,
        fingerprints=parts.fingerprints,
        command=record.command,
        versions=record.versions,
        before=before,
        after=after or {},
        change=change or {},
    )


def _finish(
    console: Console,
    prepared: Prepared,
    path: Path,
    folder: RunFolder | None,
    before: Mapping[str, float],
    after: Mapping[str, float],
) -> None:
    """Records what came of it, shows it, and marks the run as done."""
    if folder:
        measures = prepared.evaluation.config.chosen
        old, new = read_records(path, "before", before, measures), read_records(path, "after", after, measures)
        change = new.since(old)
        folder.record_evaluation("change", change)
        write_card(folder.final, _card(prepared.parts, folder, before, after, change))
        show_outcome(console, path / "metrics.jsonl", (before, after, change), old, new)
    for panel in weight_heatmaps(prepared.step.scoring, prepared.setup.looked_up.rows[0]):
        console.print(panel)
    prepared.parts.accelerator.end_training()
    if folder:
        folder.finish()
    console.print(Text(f"run folder: {path}"))


def _note(console: Console, text: str) -> None:
    console.print(Text(printable(text, limit=None)), soft_wrap=True)


class _Callable(ModuleType):
    """This module is what `alignkit.run` means once it is imported, so it can be called as the function of its name."""

    __call__ = staticmethod(run)
    __signature__ = signature(run)


sys.modules[__name__].__class__ = _Callable
