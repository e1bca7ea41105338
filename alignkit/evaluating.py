"""A model measured by itself: benchmarks and held-out data of a recipe, into a folder of their own.

What was measured stays when an evaluation is interrupted: with the same folder, model and recipe it goes on with the
next benchmark. A benchmark is the unit; one that was not finished is asked anew.
"""

from __future__ import annotations

import platform
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING, Any

from alignkit.benchmarks.base import Benchmark
from alignkit.benchmarks.lines import summarised, write_lines
from alignkit.benchmarks.subject import Subject
from alignkit.data.naming import on_world
from alignkit.data.rows import Tables
from alignkit.data.tables import load_tables
from alignkit.data.tokenising import template_fingerprint
from alignkit.data.wanted import Wanted
from alignkit.engine.method import Method
from alignkit.engine.scoring import Scoring
from alignkit.engine.setup import longest_rows
from alignkit.errors import AlignkitError, RecipeError, RunFolderError
from alignkit.evaluation.benchmarks import put
from alignkit.evaluation.config import EvaluationConfig
from alignkit.evaluation.evaluate import Evaluation, Measured
from alignkit.evaluation.records import write_records
from alignkit.evaluation.scene import Scene
from alignkit.lazy import accelerate
from alignkit.loop.accelerator import make_accelerator
from alignkit.loop.signals import Interrupted, Interruptible
from alignkit.models.policy import Policy, build_policy
from alignkit.models.pretrained import Pretrained
from alignkit.pair_weighting.uniform import Uniform as UniformPairs
from alignkit.progress.display import note
from alignkit.recipe.load import LoadedRecipe
from alignkit.recipe.recipe import Recipe
from alignkit.records.evaluation_record import EVALUATION, EvaluationRecord, Score, scores_of
from alignkit.records.files import one_line, read_record, write_json
from alignkit.records.fingerprints import model_fingerprint
from alignkit.records.lock import is_bare, locked
from alignkit.records.versions import versions
from alignkit.report.scores import score_table
from alignkit.rewards.permission import Permission, granted, granting
from alignkit.run import surroundings
from alignkit.use.trained import DType, Trained, as_argument
from alignkit.weighting.uniform import Uniform

if TYPE_CHECKING:
    from accelerate import Accelerator
    from rich.console import Console

HELD_OUT = "held-out data"
"""What the measures are called in a record."""


@dataclass(frozen=True)
class Evaluated:
    """What came of an evaluation.

    Attributes:
        folder: where it is.
        record: what `evaluation.json` there holds.
    """

    folder: Path
    record: EvaluationRecord


def evaluate(
    model: str,
    loaded: LoadedRecipe,
    output: Path | None = None,
    execute_code: Permission | None = None,
    quiet: bool = False,
) -> Evaluated:
    """Measures a model by what the `evaluation` of a recipe says.

    Of the measures those are taken that need neither a reference nor token weights, which belong to a training.

    Args:
        model: a run folder, a model folder, a GGUF file or a Hub id.
        loaded: the recipe; its own model plays no part.
        output: folder that is made, or that holds the same evaluation, begun; None makes a new one below
            `evaluations/`.
        execute_code: whether benchmarks may run code that the model writes; None leaves it as it is.
        quiet: print nothing.

    Raises:
        AlignkitError: the user can mend it; nothing that was there before is lost.
    """
    with granting(execute_code or granted()):
        _refuse_nothing(loaded.recipe)
        loaded.recipe.evaluation.check()
        trained = Trained.of(model)
        with surroundings(loaded, quiet=quiet) as display, Interruptible(), _opened(trained, loaded, output) as folder:
            return _Evaluating(display.console, loaded.recipe, model, folder).run(_source(trained), loaded)


class _Evaluating:
    """One evaluation; every process computes, the main one writes."""

    def __init__(self, console: Console, recipe: Recipe, model: str, folder: Path) -> None:
        self.console, self.recipe, self.model, self.folder = console, recipe, model, folder
        self.is_main = accelerate.PartialState().is_main_process

    def run(self, source: Pretrained, loaded: LoadedRecipe) -> Evaluated:
        """All of it, or what is left."""
        accelerator = make_accelerator(self.recipe.training, self.folder)
        with as_argument():
            policy, tables = self._loaded(source, accelerator)
        record = self._begun(loaded, policy, tables)
        try:
            for benchmark in self.recipe.evaluation.benchmarks:
                if benchmark.title not in record.done:
                    record = self._ask(record, benchmark, policy, accelerator)
            if tables and HELD_OUT not in record.done:
                scoring = Scoring(self.method, policy, None, {}, accelerator.autocast)
                measured = _measured(scoring, self.recipe, tables, accelerator)
                if self.is_main:
                    write_records(self.folder, "alone", measured)
                record = self._add(record, HELD_OUT, scores_of(measured.summary), {})
        except Interrupted as stop:
            stop.message = (
                f"stopped by {Signals(stop.signal).name}; measured so far: {', '.join(record.done) or 'nothing'}; go "
                f"on with the same command and --output {shlex.quote(str(self.folder))}"
            )
            raise
        if record.ended is None:
            record = self._written(record.model_copy(update={"ended": _now()}))
        self.console.print(score_table(record.results))
        note(self.console, "+- is one standard error")
        note(self.console, f"evaluation folder: {self.folder}")
        return Evaluated(self.folder, record)

    @property
    def method(self) -> Method:
        """The recipe's view of rows, without all that trains."""
        uniform = Uniform(name="uniform"), UniformPairs(name="uniform")
        return Method(*uniform, (), self.recipe.trainer, self.recipe.seed)

    def _loaded(self, source: Pretrained, accelerator: Accelerator) -> tuple[Policy, Tables | None]:
        tokenizer = source.load_tokenizer(())
        tables = _tables(self.recipe, tokenizer)
        policy = build_policy(
            source,
            tokenizer,
            seed=self.recipe.seed,
            separate=False,
            device=accelerator.device,
            template_end=tables.end if tables else None,
            longest=longest_rows(self.method, self.recipe.sizes(), tables, tokenizer) if tables else None,
        )
        return policy, tables

    def _ask(
        self, record: EvaluationRecord, benchmark: Benchmark, policy: Policy, accelerator: Accelerator
    ) -> EvaluationRecord:
        subject = Subject(policy, self.recipe.evaluation.batch_size, accelerator.autocast)
        asked = put(benchmark, subject, accelerator)
        if self.is_main:
            write_lines(self.folder, benchmark.title, "alone", asked.lines)
        found = {name: Score.of(one) for name, one in summarised(benchmark.title, asked.lines).items()}
        return self._add(record, benchmark.title, found, {benchmark.title: asked.first_prompt})

    def _begun(self, loaded: LoadedRecipe, policy: Policy, tables: Tables | None) -> EvaluationRecord:
        """The record that is there, if it is of the same model, or a new one."""
        prints = {"model": model_fingerprint(policy.model), "template": template_fingerprint(policy.tokenizer)}
        if tables:
            prints["data"] = "+".join(report.fingerprint for report in tables.reports)
        if (self.folder / EVALUATION).exists():
            record = read_record(self.folder / EVALUATION, EvaluationRecord)
            other = [name for name in prints | record.fingerprints if prints.get(name) != record.fingerprints.get(name)]
            if other:
                raise RunFolderError(
                    f"{self.folder}: holds the evaluation of another {' and '.join(other)} (fingerprints differ); "
                    "choose another --output"
                )
            return record
        return self._written(
            EvaluationRecord(
                command=sys.argv,
                started=_now(),
                platform=platform.platform(),
                versions=versions(),
                plugins=loaded.plugins,
                libraries=dict(loaded.libraries),
                ended=None,
                model=self.model,
                recipe=loaded.to_yaml(),
                fingerprints=prints,
            )
        )

    def _add(
        self, record: EvaluationRecord, what: str, results: Mapping[str, Score], prompts: Mapping[str, str]
    ) -> EvaluationRecord:
        return self._written(
            record.model_copy(
                update={
                    "done": [*record.done, what],
                    "results": {**record.results, **results},
                    "first_prompts": {**record.first_prompts, **prompts},
                }
            )
        )

    def _written(self, record: EvaluationRecord) -> EvaluationRecord:
        if self.is_main:
            write_json(self.folder / EVALUATION, record.model_dump(mode="json"))
        return record


def _looks_at_data(recipe: Recipe) -> bool:
    rows = 0 if recipe.trainer.draws else recipe.evaluation.looked_at("rows")
    return bool(rows or recipe.evaluation.looked_at("samples"))


def _refuse_nothing(recipe: Recipe) -> None:
    if not recipe.evaluation.benchmarks and not _looks_at_data(recipe):
        raise RecipeError(
            "evaluation: the recipe measures nothing; list benchmarks in evaluation.benchmarks, or have "
            "evaluation.measures with evaluation.pairs or evaluation.samples above 0"
        )


def _source(trained: Trained) -> Pretrained:
    """The model as a recipe would name it; the base of an adapter in the number format that it had in training."""
    recipe = trained.recipe()
    dtype: DType = (
        recipe.model.dtype if recipe and isinstance(recipe.model, Pretrained) and trained.is_adapter else "auto"
    )
    return trained.source(dtype)


def _tables(recipe: Recipe, tokenizer: Any) -> Tables | None:  # noqa: ANN401 -- transformers' is loaded late
    """The recipe's rows; None where nothing is measured on them."""
    if not _looks_at_data(recipe):
        return None
    return load_tables(recipe.data, tokenizer, Wanted.of(recipe.trainer.responses, recipe.data), seed=recipe.seed)


def _measured(scoring: Scoring, recipe: Recipe, tables: Tables, accelerator: Accelerator) -> Measured:
    """What measures say that need neither a reference nor token weights."""
    plain = recipe.evaluation.model_copy(update={"weighted": False, "benchmarks": ()})
    scene = Scene(scoring, plain, None, on_world(recipe.data))
    kept = tuple(measure for measure in plain.chosen if not measure.weighs(scene))
    config: EvaluationConfig = plain.model_copy(update={"measures": kept})
    return Evaluation(scoring, config, tables.eval, None, accelerator, scene.on_world).measure()


# --- the folder ---


@contextmanager
def _opened(trained: Trained, loaded: LoadedRecipe, output: Path | None) -> Iterator[Path]:
    """The folder, made or found and locked, as long as it is entered; refused on every process alike."""
    outcome: list[Any] = [None]
    lock = None
    if accelerate.PartialState().is_main_process:
        try:
            path = _new(trained) if output is None else output
            if path.exists() and not path.is_dir():
                raise RunFolderError(f"{path}: is a file; --output needs a folder")
            with one_line(path):
                path.mkdir(parents=True, exist_ok=True)
            lock = locked(path)
            _refuse_other(path, loaded)
            outcome = [path]
        except AlignkitError as error:
            outcome = [error]
    accelerate.utils.broadcast_object_list(outcome)
    try:
        if isinstance(outcome[0], AlignkitError):
            raise outcome[0]
        yield outcome[0]
    finally:
        if lock is not None:
            if is_bare(path):  # as after a mistake in the data
                shutil.rmtree(path, ignore_errors=True)
            lock.release()


def _refuse_other(path: Path, loaded: LoadedRecipe) -> None:
    if not (path / EVALUATION).exists():
        if not is_bare(path):
            raise RunFolderError(f"{path}: holds files but no {EVALUATION}; choose another --output")
    elif read_record(path / EVALUATION, EvaluationRecord).recipe != loaded.to_yaml():
        raise RunFolderError(f"{path}: holds an evaluation by another recipe; choose another --output")


def _new(trained: Trained) -> Path:
    name = "".join(char if char.isalnum() or char in "._-" else "-" for char in Path(trained.name).name)
    return Path("evaluations") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
