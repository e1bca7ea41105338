"""A run from recipe to record. The table of contents of the program: read this first."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.text import Text

from alignkit.data.preview import preview
from alignkit.data.rows import Tables
from alignkit.data.sources import WORLD
from alignkit.data.tables import load_tables, training_texts
from alignkit.data.tokenising import template_fingerprint
from alignkit.errors import AlignkitError
from alignkit.evaluation.evaluate import Evaluation
from alignkit.fingerprints import model_fingerprint
from alignkit.folder import RunFolder, resume_command
from alignkit.lazy import accelerate, datasets, torch, transformers
from alignkit.models.policy import Policy, build_policy
from alignkit.objective import ObjectiveStep
from alignkit.recipe.load import LoadedRecipe
from alignkit.report.banner import Batch, start_banner
from alignkit.report.progress import Progress
from alignkit.report.table import before_after_table, verdict
from alignkit.report.weights import weight_heatmaps
from alignkit.scoring_setup import build_scoring, longest_rows
from alignkit.token_values.bench import SideRuns
from alignkit.token_values.columns import TokenColumns
from alignkit.trainers.accelerator import make_accelerator, start_trackers
from alignkit.trainers.config import TrainingConfig
from alignkit.trainers.loop import TrainResult, train
from alignkit.trainers.order import planned_steps
from alignkit.trainers.signals import Interrupted, Interruptible

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Parts:
    """What a recipe names, loaded."""

    loaded: LoadedRecipe
    config: TrainingConfig
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


def run(loaded: LoadedRecipe, output: Path | None, resume: bool, dry_run: bool) -> Path | None:
    """Trains what a recipe says and records it.

    Args:
        loaded: the recipe with its origins.
        output: run folder; None makes a new one below `runs/`.
        resume: go on with the run in `output`, or begin one there when there is none yet.
        dry_run: load and check everything, show it, and stop before the first step; nothing is trained, nor written
            but reference log-probs to the cache.

    Returns:
        The run folder, on every process; None after a dry run.

    Raises:
        AlignkitError: the user can mend it; nothing that was there before is lost.
        SystemExit: 128 + signal, after a signal was answered with a checkpoint.
    """
    _quiet_libraries()
    state = accelerate.PartialState(cpu=not torch.accelerator.is_available())
    console = Console(quiet=not state.is_main_process)
    if dry_run:
        parts = load_parts(loaded, Path("."), None)
        _show_start(console, parts, "none: dry run")
        prepare(parts, SideRuns(may_train=False))
        console.print(preview(parts.tables.train[0], parts.policy.tokenizer))
        return None
    with Interruptible(), _folder(loaded, output, resume=resume) as (path, folder, how):
        if how == "finished":
            console.print(f"{path}: this run is finished; nothing is left to do", soft_wrap=True)
            return path
        begin = partial(_begin, loaded, folder)
        note = partial(console.print, soft_wrap=True)
        side = SideRuns(path / "contrast", begin, note, partial(Progress, console=console))
        parts = load_parts(loaded, path, path / "dropped.jsonl" if folder else None)
        _show_start(console, parts, str(path))
        try:
            prepared = prepare(parts, side)
            begin(parts.fingerprints)
            before = _evaluate(prepared, folder, "before", note)
            start_trackers(parts.accelerator, path, loaded.tree())
            result = _train(console, prepared, path, folder, resume=how == "resumed")
            if result.stopped_by_signal is not None:
                note(_stopped(result.stopped_by_signal, f"after step {result.steps}", path))
                parts.accelerator.end_training()
                raise SystemExit(128 + result.stopped_by_signal)
            after = _evaluate(prepared, folder, "after", note)
            _finish(console, prepared, path, folder, before, after)
        except Interrupted as stop:
            stop.message = _stopped(stop.signal, "between two steps or while measuring", path)
            raise
    return path


def load_parts(loaded: LoadedRecipe, path: Path, dropped_file: Path | None) -> Parts:
    """Data and model of a recipe.

    Args:
        loaded: the recipe.
        path: run folder, for trackers.
        dropped_file: where dropped rows go; None keeps them nowhere.

    Raises:
        AlignkitError: a part cannot be had or does not fit.
    """
    recipe = loaded.recipe
    accelerator = make_accelerator(recipe.training, path)
    tokenizer = recipe.model.load_tokenizer(training_texts(recipe.data, recipe.seed))
    needs = recipe.needs()
    tables = load_tables(
        recipe.data,
        tokenizer,
        responses=recipe.trainer.responses + (("gold",) if needs.gold else ()),
        columns=needs.columns,
        nonnegative=needs.nonnegative,
        token_columns=frozenset(v.suffix for v in needs.values if isinstance(v, TokenColumns)),
        seed=recipe.seed,
        dropped_file=dropped_file,
    )
    policy = build_policy(
        recipe.model,
        tokenizer,
        seed=recipe.seed,
        separate=needs.full_sequence,
        device=accelerator.device,
        template_end=tables.end,
        longest=longest_rows(recipe, tables, tokenizer),
    )
    fingerprints = {
        "data": "+".join(report.fingerprint for report in tables.reports),
        "template": template_fingerprint(tokenizer),
        "model": model_fingerprint(policy.model),
    }
    config = _resolved(recipe.training, has_adapter=policy.has_adapter)
    return Parts(loaded, config, accelerator, tables, policy, fingerprints)


def prepare(parts: Parts, side: SideRuns) -> Prepared:
    """Reference, token values and step of a run, checked.

    Args:
        parts: its data and model.
        side: for trainings that token weights need beforehand.

    Raises:
        AlignkitError: a part cannot be had or does not fit.
    """
    recipe, tables = parts.loaded.recipe, parts.tables
    resolved = recipe.model_copy(update={"training": parts.config})
    scoring, reference = build_scoring(resolved, parts.policy, tables, parts.fingerprints, parts.accelerator, side)
    step = ObjectiveStep(scoring)
    step.check_start(tables.train)
    on_world = recipe.data.train == WORLD and recipe.data.eval in (None, WORLD)
    return Prepared(parts, step, Evaluation(scoring, tables.eval, reference, parts.accelerator, on_world))


def _resolved(config: TrainingConfig, *, has_adapter: bool) -> TrainingConfig:
    """The configuration with its learning rate filled in."""
    rate = config.learning_rate or (5e-6 if has_adapter else 5e-7)
    return config.model_copy(update={"learning_rate": rate})


def _train(console: Console, prepared: Prepared, path: Path, folder: RunFolder | None, *, resume: bool) -> TrainResult:
    """Trains and saves: when it returns without a signal, the last checkpoint and `final/` are on the disk."""
    recipe = prepared.parts.loaded.recipe
    rows = prepared.parts.tables.train
    total = planned_steps(prepared.parts.config, len(rows))
    with Progress(total, console=console) as progress:
        return train(
            prepared.step,
            rows,
            prepared.parts.config,
            seed=recipe.seed,
            folder=path,
            accelerator=prepared.parts.accelerator,
            fingerprint=prepared.parts.fingerprints,
            on_log=progress.update,
            on_eval=prepared.evaluation if prepared.parts.config.eval_every else None,
            on_note=progress.note,
            on_start=partial(_go_on, progress, folder),
            on_trained=partial(prepared.parts.policy.save, folder.final) if folder else lambda: None,
            resume=resume,
        )


# --- records and what the user sees ---


def _begin(loaded: LoadedRecipe, folder: RunFolder | None, fingerprints: Mapping[str, str]) -> None:
    """Records what the run is, on the main process."""
    if folder:
        recipe = loaded.to_yaml(origin=True)
        folder.begin(recipe, seed=loaded.recipe.seed, command=sys.argv, fingerprints=fingerprints)


def _go_on(progress: Progress, folder: RunFolder | None, done: int) -> None:
    progress.begin(done)
    if folder:
        folder.go_on(done)


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
    prepared: Prepared, folder: RunFolder | None, moment: Literal["before", "after"], note: Callable[[str], None]
) -> dict[str, float]:
    """Measures the policy, unless an interrupted run recorded the same moment already, and records it."""
    recorded = folder.evaluations() if folder and moment == "before" else {}
    known: list[dict[str, float] | None] = [recorded.get(moment)]
    if folder:
        while folder.notes:
            note(folder.notes.pop(0))
    accelerate.utils.broadcast_object_list(known)
    values = prepared.evaluation(0) if known[0] is None else known[0]
    if folder:
        folder.record_evaluation(moment, values)
    return values


def _finish(
    console: Console,
    prepared: Prepared,
    path: Path,
    folder: RunFolder | None,
    before: Mapping[str, float],
    after: Mapping[str, float],
) -> None:
    """Shows what came of it, and marks the run as done."""
    console.print(before_after_table(before, after))
    console.print(Text(verdict(before, after)))
    rows = prepared.parts.tables.eval[:1] or prepared.parts.tables.train[:1]
    for panel in weight_heatmaps(prepared.step.scoring, rows[0]):
        console.print(panel)
    prepared.parts.accelerator.end_training()
    if folder:
        folder.finish()
    console.print(Text(f"run folder: {path}"))


def _show_start(console: Console, parts: Parts, folder: str) -> None:
    recipe, config = parts.loaded.recipe, parts.config
    parameters = list(parts.policy.model.parameters())
    processes = parts.accelerator.num_processes
    share = -(-config.batch_size // processes)
    micro = min(config.micro_batch_size, share)
    console.print(
        start_banner(
            recipe=str(parts.loaded.path),
            model=str(getattr(recipe.model, "path", recipe.model.name)),
            parameters=sum(p.numel() for p in parameters),
            trainable=sum(p.numel() for p in parameters if p.requires_grad),
            reports=parts.tables.reports,
            batch=Batch(config.batch_size, micro, -(-share // micro), processes),
            steps=planned_steps(config, len(parts.tables.train)),
            folder=folder,
        )
    )
    for note in parts.policy.notes:
        console.print(Text(f"model: {note}"))


def _quiet_libraries() -> None:
    """Their progress bars and notices would tear ours apart; errors still come through."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # without a network it tells of each try
    # peft reads what transformers has renamed; nothing a user could do about it.
    warnings.filterwarnings("ignore", ".is_gradient_checkpointing. is deprecated", FutureWarning)
    warnings.filterwarnings(
        "ignore", "The following (rank|alpha)_pattern keys", RuntimeWarning
    )  # we say what is adapted
